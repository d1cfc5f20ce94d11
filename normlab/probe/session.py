"""Goes through a plan: measures every model, and shows and keeps what comes out."""

import dataclasses
import shlex
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from normlab.config import DataConfig, RunConfig
from normlab.data import Batches, Corpus, build_objective, load_corpus, split
from normlab.errors import ConfigError, UserError
from normlab.figures import image
from normlab.figures.probe import probe_figure
from normlab.figures.style import look
from normlab.machine import threads
from normlab.model.gpt import GPT
from normlab.probe import curves, files, page
from normlab.probe.quantities import QUANTITIES, Batch, UntrainedModel, measure, random_batch, start
from normlab.probe.settings import Plan, ProbeConfig, name
from normlab.probe.statistics import Slope, slope
from normlab.rundir.opening import Opening
from normlab.sinks.wandb.wandb_sink import WandbSink
from normlab.training.build import pick_device
from normlab.training.checks import check_model
from normlab.training.interrupt import Interrupt

Row = dict[str, Any]
#: How many kinds of model that cannot be measured are named.
_SHOWN = 5


def check(plan: Plan) -> None:
    """Refuse what cannot be measured, before anything is written: the deepest model of each group is built.

    Raises:
        UserError: a variant, a combination or a text that cannot be used.
    """
    deepest: dict[str, RunConfig] = {}
    for cell in plan.cells:
        group = name(cell.group)
        if group not in deepest or deepest[group].depth < cell.config.depth:
            deepest[group] = cell.config
    problems = {}
    for group, config in deepest.items():
        try:
            check_model(config)
            GPT(config, _vocab(config, plan.settings))
        except ConfigError as error:
            problems[group] = error
    if len(deepest) > 1 and problems:
        lines = [f"  {group}: {error}" for group, error in list(problems.items())[:_SHOWN]]
        lines += [f"  and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        head = f"{len(problems)} of {len(deepest)} kinds of model cannot be measured:"
        raise UserError("\n".join([head, *lines]))
    for problem in problems.values():
        raise problem


def measure_model(config: RunConfig, settings: ProbeConfig) -> Row:
    """Every quantity of one model at its initial weights."""
    return measure(begin(config, settings))


def begin(config: RunConfig, settings: ProbeConfig) -> UntrainedModel:
    """The model of `config` and its batch, after one forward and backward pass."""
    device = pick_device(config.train.device)
    torch.set_num_threads(threads.of(config.train.threads))
    batch = _batch(config, settings, device)
    model = GPT(config, _vocab(config, settings))
    model = model.to(device, torch.float64 if config.train.precision == "fp64" else torch.float32).train()
    if config.placement.profile:
        model.profile(batch.ids_BT)
    return start(model, batch, settings, config.seed, bf16=config.train.precision == "bf16")


@cache
def _corpus(data: DataConfig, context: int) -> Corpus:
    return load_corpus(data, context)


def _vocab(config: RunConfig, settings: ProbeConfig) -> int:
    random = settings.tokens == "random"
    return settings.vocab if random else _corpus(config.data, config.model.context).vocab


def _batch(config: RunConfig, settings: ProbeConfig, device: torch.device) -> Batch:
    size, context = config.train.batch_size, config.model.context
    if settings.tokens == "random":
        batch = random_batch(settings.vocab, size, context, config.seed)
    else:
        corpus = _corpus(config.data, context)
        objective = build_objective(config.data, corpus.mask)
        batches = Batches(corpus, config.seed, size, context, objective)
        inputs_BT, targets_BT = split(torch.from_numpy(batches.train(0)))
        batch = Batch(ids_BT=inputs_BT, targets_BT=targets_BT)
    return Batch(ids_BT=batch.ids_BT.to(device), targets_BT=batch.targets_BT.to(device))


def fit(plan: Plan, rows: list[Row]) -> list[Slope]:
    """The slope of every quantity in every group."""
    return [
        slope(group, key, curves.of_group(rows, group), quantity.by_block)
        for group in plan.groups
        for key, quantity in QUANTITIES.items()
    ]


def run(plan: Plan, directory: Path, *, as_json: bool = False) -> int | None:
    """Measure a plan and leave everything in `directory`; returns the signal that stopped it, if one did.

    A probe that is stopped keeps what it has measured, and its slopes are those of the seeds that are whole.

    Raises:
        UserError: what `check` raises; nothing has been written then.
    """
    files.check_free(directory)
    check(plan)
    session = _Session(plan, directory)
    with Interrupt() as interrupt:
        try:
            session.measure(interrupt)
        finally:
            session.close(interrupt.signal)
    session.show(as_json)
    return interrupt.signal if session.stopped else None


class _Session:
    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan, self.directory = plan, directory
        self.rows: list[Row] = []
        self.console = Console(stderr=True)
        labels = [*plan.groups[0], "depth", "seed"]
        self.files = files.Files(directory, labels)
        self.wandb = WandbSink(
            plan.cells[0].config.tracker, lambda _: {"figures/probe": self._picture}, self._warn, kind="probe"
        )
        self.wandb.open(self._opening())
        self.began = time.perf_counter()
        torch.set_flush_denormal(True)

    @property
    def stopped(self) -> bool:
        return len(self.rows) < len(self.plan.cells) * len(self.plan.seeds)

    def measure(self, interrupt: Interrupt) -> None:
        models = self.plan.models()
        with page.progress(len(models), self.console) as advance:
            for cell, config in models:
                if interrupt.signal is not None:
                    break
                row = {**cell.group, "depth": config.depth, "seed": config.seed}
                row |= measure_model(config, self.plan.settings)
                self.rows.append(row)
                self.files.row(row, first=len(self.rows) == 1)
                self._log(row, name(cell.group))
                advance(f"{name(cell.group)} depth {config.depth} seed {config.seed}")

    def close(self, signal: int | None) -> None:
        """Write what needs all rows, also of a probe that was stopped or has failed."""
        self.slopes = fit(self.plan, self.rows)
        self.record = {
            "rows": self.rows,
            "slopes": [each.record() for each in self.slopes],
            "settings": dataclasses.asdict(self.plan.settings),
            "words": list(self.plan.words),
            "status": "stopped" if self.stopped else "finished",
            "seconds": round(time.perf_counter() - self.began, 2),
        }
        if self.rows:
            self.files.close(self.record)
            with look():
                shown = curves.panels(self.rows, self.plan.groups)
                self._picture = image(probe_figure(shown, self._title()))
            self._picture.save(self.directory / files.PICTURE)
        self.wandb.close(self._summary(signal))

    def show(self, as_json: bool) -> None:
        out = Console()
        if as_json:
            print(files.as_json(self.record), end="")
        elif self.rows:
            ascii_only = not out.encoding.startswith("utf")
            out.print(page.page(self.plan, self.rows, self.slopes, out.width, ascii_only), highlight=False)
        if self.stopped:
            self.console.print(f"stopped after {len(self.rows)} models", style="yellow")
        self.console.print(f"written to {self.directory}", soft_wrap=True, highlight=False)
        if self.wandb.sync_hint:
            self.console.print(f"to wandb: {self.wandb.sync_hint}", soft_wrap=True, highlight=False)

    def _warn(self, message: str) -> None:
        self.console.print(f"warning: {message}", style="yellow", soft_wrap=True, highlight=False)

    def _title(self) -> str:
        return f"normlab probe {shlex.join(self.plan.words)}"

    def _opening(self) -> Opening:
        config = self.plan.cells[0].config
        vocab = _vocab(config, self.plan.settings)
        return Opening(
            directory=self.directory,
            config=dataclasses.asdict(config)
            | {"probe": dataclasses.asdict(self.plan.settings) | {"words": list(self.plan.words)}},
            name=self.directory.name,
            sweep=None,
            floors={"uniform": float(torch.tensor(vocab).log())},
            parameters=sum(weight.numel() for weight in GPT(config, vocab).parameters()),
            first_step=0,
        )

    def _log(self, row: Row, group: str) -> None:
        """A row for wandb: a step a model, a series a group in the panel of each quantity."""
        numbers = {f"{key}/{group}": row[key] for key in QUANTITIES}
        self.wandb.row({"step": len(self.rows) - 1, "depth": row["depth"], "seed": row["seed"], **numbers})

    def _summary(self, signal: int | None) -> Mapping[str, Any]:
        found: dict[str, dict[str, Any]] = {}
        for each in self.slopes:
            found.setdefault(each.quantity, {})[name(each.group)] = {"mean": each.mean, "sd": each.sd}
        return {"status": "interrupted" if signal else "finished", "slope": found}
