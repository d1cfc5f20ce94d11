"""The words of `normlab --help` and `normlab train --help`, as data; `page.py` draws them."""

from dataclasses import dataclass

from normlab.catalogue import groups

#: A line of a panel: what to type, and what it means.
Line = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class HelpPanel:
    """A titled box. `stacked`: the meaning stands above what to type, for long commands."""

    title: str
    lines: tuple[Line, ...]
    stacked: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """A help page."""

    usage: str
    summary: str
    panels: tuple[HelpPanel, ...]
    closing: str = ""


def main_page() -> Page:
    """`normlab --help`."""
    return Page(
        usage="normlab COMMAND ...",
        summary="How norm type and placement affect the training stability of small GPTs, measured.",
        panels=(
            HelpPanel(
                title="Start here",
                stacked=True,
                lines=(
                    ("normlab train", "One run on real text, offline, in about half a minute on two cores"),
                    (
                        "normlab train -m placement=post,pre warmup=0,100",
                        "Four runs and a table: Post-LN gets stuck without warm-up, Pre-LN does not",
                    ),
                    ("normlab list placements", "What can be chosen, with equations and sources"),
                    (
                        "normlab describe placement=deepnorm depth=24",
                        "What a config is and costs: equations, a drawing, initial weights, FLOPs, memory",
                    ),
                ),
            ),
            HelpPanel(
                title="Choose and train",
                lines=(
                    ("list [WHAT]", "Print the tables of norms, placements, activations, datasets ..."),
                    ("describe", "Tell what a config is and costs without training it, or what differs"),
                    ("probe", "Measure placements against depth before any training, in seconds"),
                    ("train", "Train one model, or with -m a sweep; normlab train --help teaches how"),
                    ("resume RUN", "Continue a run from its last checkpoint, as if never stopped"),
                    ("sweep plan", "What a sweep would do and cost: jobs, parameters, time, disk"),
                    ("sweep critical-lr", "The largest learning rate at which each variant trains"),
                    ("sweep status", "How far one has come: what runs, what is lost, outcomes"),
                ),
            ),
            HelpPanel(
                title="Look at one run",
                lines=(
                    ("show RUN", "On the terminal: loss, gradient and stream by layer, events"),
                    ("explain RUN", "In plain words: what became of it, why, and what cures it"),
                    ("replay RUN", "Look for events in its rows again, also with other thresholds"),
                ),
            ),
            HelpPanel(
                title="Compare runs and sweeps",
                lines=(
                    ("runs [DIR]", "List the runs there are, newest first: normlab runs outcome=stuck"),
                    ("compare", "Tables of what differs between them, and whether by chance"),
                    ("plot", "Figures: loss, gradients by layer, outcome maps, ..."),
                    ("report", "One HTML page to send: answers, curves, heat maps, events"),
                    ("sync", "Send to wandb what was made offline or without it"),
                    ("workspace create", "Make a saved view of the comparison in wandb"),
                ),
            ),
            HelpPanel(
                title="Options",
                lines=(
                    ("--help, -h", "This page; after a command, that command's"),
                    ("--version", "Print the version"),
                    ("--install-completion", "Set up completion of commands and settings in your shell"),
                    ("--show-completion", "Print what that would set up"),
                ),
            ),
        ),
        closing="A run leaves everything in outputs/: rows, events, checkpoints, wandb's files.",
    )


def train_page() -> Page:
    """`normlab train --help`."""
    return Page(
        usage="normlab train [FLAGS] [KEY=VALUE] ...",
        summary="Train one model, or with -m every combination of the values given.",
        panels=(
            HelpPanel(title="Examples", stacked=True, lines=_EXAMPLES),
            HelpPanel(title="Five knobs and the seed", lines=_knobs()),
            HelpPanel(title="Groups: GROUP=OPTION chooses, GROUP.KEY=VALUE sets", lines=_groups()),
            HelpPanel(title="Sweeps (-m): several values of any setting", lines=_SWEEPS),
            HelpPanel(title="Flags (Hydra's; anywhere on the line)", lines=_FLAGS),
        ),
        closing=(
            "A run is kept in outputs/runs/TIME-WHAT_DIFFERS/, a sweep in outputs/sweeps/NAME/. "
            "Exit code: 0 done, diverged or not; 1 a job failed; 2 bad input; 130 or 143 interrupted."
        ),
    )


def probe_page() -> Page:
    """`normlab probe --help`."""
    from normlab.probe.settings import ProbeConfig

    own = ProbeConfig()
    return Page(
        usage="normlab probe [KEY=VALUE] ...",
        summary="Measure models at their initial weights against depth, without training: gradients, the "
        "residual stream, what weight noise and one step do to the output. Slopes are log-log, one a seed.",
        panels=(
            HelpPanel(title="Examples", stacked=True, lines=_PROBES),
            HelpPanel(
                title="Words of the probe",
                lines=(
                    ("seeds=10", "this many seeds, from seed= on"),
                    (
                        f"tokens={own.tokens}",
                        "random, or text: the first batch of data; data=... says text too",
                    ),
                    (f"vocab={own.vocab}", "vocabulary of random tokens"),
                    (f"noise={own.noise:g}", "weight noise, a share of each matrix's standard deviation"),
                    (f"sgd_lr={own.sgd_lr:g}", "rate of the one SGD step"),
                    (f"sign_lr={own.sign_lr:g}", "rate of the one sign step"),
                ),
            ),
            HelpPanel(
                title="Flags",
                lines=(
                    ("--json", "print rows and slopes as JSON"),
                    ("-o, --out DIR", "where to write; else outputs/probes/TIME-PLACEMENTS/"),
                    ("-cd, --config-dir DIR", "your own options, as in normlab train"),
                ),
            ),
        ),
        closing=(
            "Every setting of normlab train can be given, and several values of each. Where nothing is said "
            "it is init.gain=1, embeddings of std 1, a head of width^-0.5, no positions, context 32, batch "
            "4, fp64, one CPU thread, no tracker, and depth=4,8,16,32 (conf/probe.yaml). "
            "tracker.mode=auto logs to wandb."
        ),
    )


_PROBES: tuple[Line, ...] = (
    (
        "normlab probe placement=post,pre,deepnorm,keel depth=4,8,16,32 seeds=10",
        "Four placements at four depths",
    ),
    ("normlab probe placement=pre init=normal init.std=0.02,0.125", "What small weights hide"),
    ("normlab probe placement=pre data=stdlib", "On real tokens"),
    ("normlab probe experiment=probe_gradients", "A study from a file"),
)


def critical_page() -> Page:
    """`normlab sweep critical-lr --help`."""
    from normlab.sweep.bisection import CriticalConfig

    own = CriticalConfig()
    return Page(
        usage="normlab sweep critical-lr [KEY=VALUE] ...",
        summary="Find the learning rate up to which each variant trains, by bisection on a log grid, "
        "with its interval, and how it falls with depth where that varies. Words are those of normlab "
        "train -m: each combination of what varies is a variant, the seeds are its replicates.",
        panels=(
            HelpPanel(
                title="Examples",
                stacked=True,
                lines=(
                    (
                        "normlab sweep critical-lr placement=post,pre depth=4,8,16 'seed=range(3)'",
                        "Six variants, three runs at each rate",
                    ),
                    (
                        "normlab sweep critical-lr placement=pre critical.factor=1.2 critical.lowest=3e-3",
                        "A finer grid, from another rate on",
                    ),
                ),
            ),
            HelpPanel(
                title="Words of the search",
                lines=(
                    (f"critical.lowest={own.lowest:g}", "the lowest rate"),
                    (f"critical.highest={own.highest:g}", "the highest"),
                    (f"critical.factor={own.factor:g}", "from each rate of the grid to the next"),
                    (
                        f"critical.check={own.check}",
                        "rates in a row on either side of the border at which all seeds must agree",
                    ),
                    (
                        "sweep.name=NAME",
                        "its folder; else by the words. The same command goes on there",
                    ),
                ),
            ),
            HelpPanel(
                title="Flags",
                lines=(
                    ("--json", "print one JSON object and nothing else"),
                    ("-cd, --config-dir DIR", "your own options, as in normlab train"),
                ),
            ),
        ),
        closing="The critical rate is the one at which half of the runs train: end 0.1 nat below the unigram "
        "entropy of the text or lower, and neither nonfinite, exploded nor stuck; a spike is no failure."
        " It is fitted to all runs (logistic), and its 95 % interval narrows with seeds: three octaves "
        "with one, one with three that agree. The search begins with steps of 8 from the highest rate "
        "down, so that low rates at which nothing is learnt in so few steps do not mislead it. LR "
        "sensitivity is a mean over an even grid, and the rates tried here crowd at the border: for it, "
        "normlab train -m optimizer.lr=1e-3,1e-2,1e-1 and normlab compare.",
    )


def describe_page() -> Page:
    """`normlab describe --help`."""
    return Page(
        usage="normlab describe [KEY=VALUE] ... [--against KEY=VALUE ...]",
        summary="Tell what a config is and costs, without training it; or what differs between two.",
        panels=(
            HelpPanel(
                title="Examples",
                stacked=True,
                lines=(
                    ("normlab describe placement=deepnorm depth=24", "One config"),
                    (
                        "normlab describe preset=gpt2 --against placement=post norm=rmsnorm",
                        "Two, and what differs: everything after --against is the other",
                    ),
                    (
                        "normlab describe depth=24 --against seed=0 --json",
                        "Against the default run, for scripts",
                    ),
                ),
            ),
            HelpPanel(
                title="What it tells",
                lines=(
                    ("equations", "of the placement and the norm, and as this config composes them"),
                    ("block", "drawn, one for each structure that there is"),
                    ("constants", "every law's value at this depth, each block's scales"),
                    ("weights", "initial standard deviations of each projection and their gains"),
                    ("costs", "parameters by part, FLOPs a token, memory of a step"),
                ),
            ),
            HelpPanel(
                title="Flags (anywhere on the line)",
                lines=(
                    ("--against WORDS", "the other config: all words up to the end of the line"),
                    ("--json", "print one JSON object and nothing else"),
                    ("--vocab N", "tokens in the vocabulary, where the text would decide"),
                    ("-cd, --config-dir DIR", "your own options, as in normlab train"),
                ),
            ),
        ),
        closing="Words are those of normlab train. No text is read. Exit code: 0 done, 2 bad input.",
    )


_EXAMPLES: tuple[Line, ...] = (
    ("normlab train placement=post depth=24", "Another placement, twice as deep"),
    ("normlab train norm=rmsnorm norm.eps=1e-6 activation=swiglu", "RMSNorm with its eps, and a gated FFN"),
    ("normlab train optimizer.lr=1e-3 schedule=cosine train.steps=600", "Another rate, falling, for longer"),
    ("normlab train data=text data.path='notes/*.txt'", "Your own text"),
    (
        "normlab train -m placement=post,pre,deepnorm warmup=0,100 'seed=range(3)'",
        "A sweep: three placements, two warm-ups, three seeds",
    ),
    ("normlab train experiment=warmup_rescues_post", "A study from a file"),
)

_SWEEPS: tuple[Line, ...] = (
    ("warmup=0,50,100", "a list"),
    ("'seed=range(8)'", "a range: 0 to 7"),
    ("'placement=glob(p*)'", "the options of a group by a pattern; glob(*) is every one"),
    ("sweep.zip=[depth,seed]", "lists of these keys go together, first with first, not crossed"),
    ("sweep.rows=[{...},{...}]", "settings that go together, a job a row: conf/README.md has a study so"),
    ("sweep.name=NAME", "the folder outputs/sweeps/NAME, else the time; run again, it goes on"),
    ("sweep.retry=failed", "tries failed jobs again too; lost and interrupted ones always are"),
    ("sweep.fail_fast=true", "start no further job once one has failed or was lost"),
    ("hydra/launcher=NAME", "basic is one after another; joblib, submitit_local, submitit_slurm, ray"),
)

_FLAGS: tuple[Line, ...] = (
    ("-m, --multirun", "run the sweep"),
    ("-c, --cfg job", "print the config, with every setting there is, and stop"),
    ("-cd, --config-dir DIR", "your own options: DIR/placement/mine.yaml is placement=mine"),
    ("-i, --info [WHAT]", "how Hydra put the config together"),
    ("--hydra-help", "Hydra's own help"),
)


def _knobs() -> tuple[Line, ...]:
    standard = groups.defaults()
    chosen = groups.default_options()

    def line(key: str, meaning: str) -> Line:
        return f"{key}={chosen.get(key, standard[key])}", meaning

    return (
        line("norm", "norm type: normlab list norms"),
        line("placement", "where norms sit: normlab list placements"),
        line("activation", "feed-forward activation: normlab list activations"),
        line("depth", "transformer blocks"),
        line("warmup", "steps in which the learning rate rises"),
        line("seed", "of the initial weights and the order of batches"),
    )


def _groups() -> tuple[Line, ...]:
    chosen = groups.default_options()
    keys = {
        "model": "width, heads, context, ffn.ratio, causal, positions, tie, bias",
        "init": "gain, gains, embedding_std",
        "data": "path, text_column, tokenizer, vocab_size, objective, lengths",
        "optimizer": "lr, betas, eps, weight_decay",
        "schedule": "final, decay",
        "train": "steps, batch_size, clip, precision, device, checkpoint.every",
        "measure": "grad_norm, stream, update, attention, covariate_shift, ablation, growth, ring",
        "divergence": "action, spike.z, plateau.tolerance, slow_divergence.margin",
        "tracker": "mode, project, entity, tags",
    }
    return tuple((f"{name}={chosen[name]}", text) for name, text in keys.items())
