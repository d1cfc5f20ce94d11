"""The words of the help of the commands that read runs, as data; see `pages`."""

from normlab.cli.pages import HelpPanel, Page


def compare_page() -> Page:
    """`normlab compare --help`."""
    return Page(
        usage="normlab compare RUN_OR_SWEEP ... [OPTIONS]",
        summary="Compare finished runs: losses, outcomes, gradients, and which differences are more than "
        "chance. Runs that differ in nothing but the seed are replicates; a run's pair in the baseline has "
        "the same seed, saw the same batches, and is the same in all other settings. Where runs diverged, "
        "how often is compared, and the loss among the pairs that trained.",
        panels=(
            HelpPanel(
                title="Examples",
                stacked=True,
                lines=(
                    ("normlab compare outputs/sweeps/mine", "A sweep, along one setting: placement=pre"),
                    (
                        "normlab compare outputs/sweeps/mine --baseline placement=pre",
                        "Each placement against pre, at the same warm-up, depth and so on",
                    ),
                    ("normlab compare outputs --table loss --latex", "One table, for a paper"),
                    ("normlab compare outputs/sweeps/mine --csv", "A line a run, for a spreadsheet"),
                ),
            ),
            HelpPanel(
                title="Options",
                lines=(
                    ("--baseline KEY=VALUE", "measured against this, all else the same; may be given again"),
                    ("--metric NAME", "whose differences are tested; else val/final"),
                    ("--margin 0.02", "parity is a difference below this, in the metric's unit"),
                    ("--target LOSS", "count the tokens until the training loss is this low"),
                    ("--table NAME", "this one: loss, outcomes, training, differences, sensitivity, ..."),
                    ("--all", "every column, and a line a run, however wide"),
                    ("--json", "print all tables as one JSON object"),
                    ("--csv", "print one table as CSV: the runs, or --table"),
                    ("--markdown, --latex", "print the tables in that form; LaTeX needs booktabs"),
                    ("--wandb E/P[/GROUP]", "runs of a wandb project too; may be given again"),
                    ("--force", "compare runs on different texts too"),
                ),
            ),
        ),
        closing="normlab.load(DIR) gives the runs to Python, with pandas frames. "
        "Exit code: 0 done, 2 bad input.",
    )


def plot_page() -> Page:
    """`normlab plot --help`."""
    from normlab.plot.kinds import KINDS

    return Page(
        usage="normlab plot RUN_OR_SWEEP ... [KIND ...] [OPTIONS]",
        summary="Draw runs, sweeps and probes as figures for print and screen. Without a KIND, all that fit. "
        "Runs that differ in nothing but the seed are one curve with a band. Every logged step is drawn: a "
        "spike of one step is seen.",
        panels=(
            HelpPanel(
                title="Examples",
                stacked=True,
                lines=(
                    ("normlab plot outputs/sweeps/mine", "Every figure, in outputs/sweeps/mine/figures/"),
                    (
                        "normlab plot outputs/sweeps/mine loss -o loss.pdf",
                        "The loss curves alone, for a paper",
                    ),
                    (
                        "normlab plot outputs/sweeps/mine outcome --over depth,warmup",
                        "What became of the runs, depth across and warm-up upward",
                    ),
                    (
                        "normlab plot outputs/runs/2026-... profile --steps 1,10,100",
                        "The gradient against layer at three steps",
                    ),
                    (
                        "normlab plot outputs/runs/2026-... heat --metric attention/entropy",
                        "Another number that was measured by layer",
                    ),
                ),
            ),
            HelpPanel(title="Kinds", lines=tuple((kind.name, kind.meaning) for kind in KINDS.values())),
            HelpPanel(
                title="Options",
                lines=(
                    ("-o, --out FILE_OR_DIR", "else figures/ in the folder that is drawn"),
                    ("--format png,svg,pdf", "one or more; PNG has 200 dots an inch"),
                    ("--steps 1,10,100", "of profile and growth; the nearest ones measured"),
                    ("--over KEY[,KEY]", "knobs of outcome: across, upward; of sensitivity"),
                    ("--metric FAMILY", "of profile, growth, heat: stream/variance, ..."),
                    ("--band range", "of the seeds, lowest to highest; ci: 95 % of the mean"),
                    ("--title TEXT", "instead of the figure's own; '' for none"),
                    ("--wandb E/P[/GROUP]", "runs of a wandb project too; may be given again"),
                    ("--force", "draw losses on different texts together too"),
                ),
            ),
        ),
        closing="An image that is there is replaced, anything else never. "
        "A folder called as a kind is ./loss. Exit code: 0 done, 2 bad input.",
    )


def report_page() -> Page:
    """`normlab report --help`."""
    return Page(
        usage="normlab report RUN_OR_SWEEP ... [-o report.html] [OPTIONS]",
        summary="Write one HTML file that opens in any browser without a network: question and answer, "
        "outcomes over two knobs, the tables of normlab compare, curves with every step, heat maps layer by "
        "layer, events and what explains them, and the command that makes each run again.",
        panels=(
            HelpPanel(
                title="Examples",
                stacked=True,
                lines=(
                    ("normlab report outputs/sweeps/mine", "A sweep, into report.html"),
                    (
                        "normlab report outputs/sweeps/a outputs/sweeps/b --title 'Two depths'",
                        "Two together, under a title of your own",
                    ),
                    ("normlab report outputs/runs/2026-... -o run.html", "One run"),
                ),
            ),
            HelpPanel(
                title="Options",
                lines=(
                    ("-o, --out FILE", "the file to write; else report.html"),
                    ("--title TEXT", "the title; else the sweep's name, or what differs"),
                    ("--overwrite", "replace the file if it is there"),
                    ("--baseline KEY=VALUE", "measured against this, all else the same; may be given again"),
                    ("--force", "take runs on different texts too"),
                    ("--to-wandb", "make a W&B Report instead: pip install 'normlab[wandb-workspace]'"),
                    ("--entity, --project", "of --to-wandb; else the runs' own"),
                ),
            ),
        ),
        closing="Runs that were cut short are drawn as far as they go. Exit code: 0 done, 2 bad input.",
    )


def resume_page() -> Page:
    """`normlab resume --help`."""
    return Page(
        usage="normlab resume RUN_DIR [KEY=VALUE] ...",
        summary="Continue a run from its last checkpoint, as if it had never stopped: after Ctrl-C, a kill "
        "or a crash of the machine, or for more steps.",
        panels=(
            HelpPanel(
                title="Examples",
                stacked=True,
                lines=(
                    ("normlab resume outputs/runs/2026-...", "Up to the steps it was to have"),
                    ("normlab resume outputs/runs/2026-... train.steps=600", "For longer"),
                    (
                        "torchrun --nproc-per-node=2 -m normlab resume outputs/runs/2026-...",
                        "On several processes, however many there were before",
                    ),
                ),
            ),
            HelpPanel(
                title="What may change",
                lines=(
                    ("train.steps", "more of them; a schedule that ends with the last is laid out anew"),
                    ("train.checkpoint.KEY", "every, minutes, keep"),
                    ("train.threads, device", "the machine; so train.processes and train.parallel"),
                    ("tracker.KEY", "wandb"),
                ),
            ),
        ),
        closing="A job of a sweep goes on with the command of the sweep. "
        "Exit code: 0 done, 1 it failed, 2 bad input, 130 or 143 interrupted.",
    )


def sweep_page() -> Page:
    """`normlab sweep --help`."""
    return Page(
        usage="normlab sweep COMMAND ...",
        summary="Plan a sweep, see how far one has come, or search for critical learning rates. "
        "normlab train -m runs a sweep.",
        panels=(
            HelpPanel(
                title="Examples",
                stacked=True,
                lines=(
                    (
                        "normlab sweep plan placement=post,pre depth=4,8 sweep.name=mine",
                        "What there is to do: jobs, parameters, time, disk; nothing is trained",
                    ),
                    (
                        "normlab train -m placement=post,pre depth=4,8 sweep.name=mine",
                        "Do it; the same command again goes on where it stopped",
                    ),
                    ("normlab sweep status outputs/sweeps/mine", "How far it is, while it runs or later"),
                    (
                        "normlab sweep critical-lr placement=post,pre depth=4,8",
                        "The largest rate at which each of them trains",
                    ),
                ),
            ),
            HelpPanel(
                title="Commands: normlab sweep COMMAND --help",
                lines=(
                    ("plan", "What normlab train -m with these words would do and cost"),
                    (
                        "status DIR",
                        "Jobs, time left, outcomes; on a terminal it goes on while the sweep does",
                    ),
                    ("critical-lr", "The largest learning rate at which each variant trains, by bisection"),
                ),
            ),
        ),
        closing="normlab train --help tells how sweeps are typed.",
    )
