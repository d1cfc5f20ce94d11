"""How soon the detectors name a fault: `python scripts/detection.py [--quick]`, some minutes on one core.

Healthy runs with the default settings are trained at depth 6 and 12. At an early and two later steps each
goes on in many ways, every one with another fault, and the table says which event came first from that step
on, how many steps later, and whether it names the layer with the fault first. Below it: the smallest factor
on one layer's gradient that is seen, by the rows that such a factor makes of a healthy step.
"""

import argparse
import copy
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from normlab.compose.from_words import compose
from normlab.data import load_corpus
from normlab.divergence import Event
from normlab.training.build import build as build_job
from normlab.training.job import Job
from normlab.training.step import take_step

STEPS = (20, 107, 200)
#: Steps that a run goes on with a fault; for one that shows only where updates are measured, every 20th.
AFTER, LONG = 8, 45
FACTORS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30)


class Fault(NamedTuple):
    """Words for `normlab train`, whether it is in one layer, and how long to wait for an event; those of the
    metric `but` do not count.
    """

    words: str
    layered: bool
    after: int = AFTER
    but: str = ""

    @property
    def name(self) -> str:
        words = self.words.replace("fault.kind=", "").replace("fault.", "")
        return f"{words}, events of {self.but} aside" if self.but else words


FAULTS = (
    Fault("fault.kind=nan_activation", True),
    Fault("fault.kind=nan_gradient", True),
    *(Fault(f"fault.kind=gradient_scale fault.factor={factor}", True) for factor in (10, 100, 1000)),
    *(Fault(f"fault.kind=lr_jump fault.factor={factor}", False) for factor in (10, 100, 1000)),
    *(Fault(f"fault.kind=lr_jump fault.factor={factor}", False, but="lr") for factor in (10, 100, 1000)),
    Fault("fault.kind=frozen_embedding", False, LONG),
    Fault("fault.kind=frozen_embedding measure.update=1", False, LONG),
)


class Base(NamedTuple):
    """A healthy run: its words, layers to put a fault in, the state before a step, and that step's row."""

    words: list[str]
    layers: tuple[int, ...]
    states: dict[int, dict[str, Any]]
    rows: dict[int, dict[str, Any]]


class Found(NamedTuple):
    """The first event after a fault, its delay, and whether it names the layer with the fault first."""

    kind: str
    delay: int | None
    right: bool | None


def build(words: list[str]) -> Job:
    config = compose([*words, "train.threads=1", "tracker.mode=disabled"])
    return build_job(config, load_corpus(config.data, config.model.context))


def follow(job: Job, steps: int) -> Iterator[dict[str, Any]]:
    """The rows of the next `steps` steps, seen by the job's detectors."""
    for _ in range(steps):
        row = take_step(job)
        job.watch.update(row)
        job.step += 1
        yield row


def base(depth: int, seed: int) -> Base:
    words = [f"depth={depth}", f"seed={seed}"]
    job, states, rows = build(words), {}, {}
    for at in STEPS:
        list(follow(job, at - job.step))
        states[at] = copy.deepcopy(job.state_dict())
        rows[at] = next(follow(job, 1))
    assert not job.watch.events, "the run is not healthy by itself"
    return Base(words, (0, depth // 2, depth - 1), states, rows)


def look(healthy: Base, fault: Fault, step: int, layer: int | None) -> Found:
    where = [f"fault.layer={layer}"] if layer is not None else []
    job = build([*healthy.words, *fault.words.split(), f"fault.step={step}", *where])
    job.load_state_dict(healthy.states[step])
    for _ in follow(job, fault.after):
        if any(event.metric != fault.but for event in job.watch.events):
            break
    return found([event for event in job.watch.events if event.metric != fault.but], step, layer)


def found(events: list[Event], step: int, layer: int | None) -> Found:
    if not events:
        return Found("none", None, None if layer is None else False)
    event = events[0]
    right = None if layer is None else event.layers[:1] == (f"layer_{layer:02d}",)
    return Found(f"{event.kind} of {event.metric.partition('/')[0]}", event.step - step, right)


def smallest_factor(healthy: Base, step: int, layer: int) -> float:
    """The least of FACTORS on the layer's gradient that brings an event which names it; infinite if none."""
    place, row, watch = f"grad_norm/layer_{layer:02d}", healthy.rows[step], build(healthy.words).watch
    for factor in FACTORS:
        more = (factor * factor - 1) * row[place] ** 2
        total = math.sqrt(row["grad_norm/global"] ** 2 + more)
        watch.load_state_dict(healthy.states[step]["watch"])
        watch.update(row | {place: factor * row[place], "grad_norm/global": total})
        if found(watch.events, step, layer).right:
            return factor
    return math.inf


def table(results: dict[Fault, list[Found]]) -> Table:
    shown = Table("fault", "runs", "first event", "steps later", "layer named", box=None)
    for fault, several in results.items():
        kinds = Counter(each.kind for each in several)
        delays = [each.delay for each in several if each.delay is not None]
        rights = [each.right for each in several if each.right is not None]
        shown.add_row(
            fault.name,
            str(len(several)),
            ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()),
            " to ".join(map(str, sorted({min(delays), max(delays)}))) if delays else "",
            f"{sum(rights)} of {len(rights)}" if rights else "",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="depth 6 and one seed only")
    quick, console = parser.parse_args().quick, Console(highlight=False)
    results: dict[Fault, list[Found]] = {fault: [] for fault in FAULTS}
    factors: list[float] = []
    for depth, seed in [(6, 0)] if quick else itertools.product((6, 12), (0, 1)):
        healthy = base(depth, seed)
        for step, fault in itertools.product(STEPS, FAULTS):
            for layer in healthy.layers if fault.layered else (None,):
                seen = look(healthy, fault, step, layer)
                results[fault].append(seen)
                if seen.delay is None or seen.right is False:
                    console.print(
                        f"missed: {healthy.words}, step {step}, layer {layer}, {fault.words}: {seen}"
                    )
        factors += [smallest_factor(healthy, *each) for each in itertools.product(STEPS, healthy.layers)]
    console.print(table(results))
    console.print(f"smallest factor seen on one layer's gradient: {min(factors)} to {max(factors)}")


if __name__ == "__main__":
    main()
