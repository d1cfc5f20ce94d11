"""What normlab costs: `python scripts/bench.py [--cycles N] [--quick] [--tests]` prints a table.

The default run and start-up times are whole processes. The instruments' cost is measured in one process, with
the arms taking turns, so that a busy machine slows all alike: the ratio is what counts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ENVIRONMENT = os.environ | {"WANDB_MODE": "offline"}


def seconds(command: list[str], repeats: int = 1) -> float:
    """Median wall time of a command, in seconds."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


#: Steps after which every instrument has had its turn; a cost is a mean over this many.
CYCLE = 20


def step_times(arms: dict[str, list[str]], cycles: int) -> dict[str, float]:
    """Milliseconds of a step under each set of overrides, the arms taking turns step by step.

    The median over the cycles of each cycle's mean: instruments look at every 5th to 20th step alone.
    """
    from normlab.compose.from_words import compose
    from normlab.data import load_corpus
    from normlab.training.build import build
    from normlab.training.step import take_step

    jobs = {}
    for name, overrides in arms.items():
        config = compose(overrides)
        jobs[name] = build(config, load_corpus(config.data, config.model.context))
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for step in range(CYCLE * (cycles + 1)):
        for name, job in jobs.items():
            began = time.perf_counter()
            row = take_step(job)
            job.watch.update(row)
            job.step += 1
            if step >= CYCLE:  # the first steps allocate
                taken[name].append(1000 * (time.perf_counter() - began))
    return {
        name: statistics.median(statistics.fmean(cycle) for cycle in batched(times, CYCLE))
        for name, times in taken.items()
    }


def batched(values: list[float], size: int) -> list[list[float]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def batch_time() -> float:
    """Median milliseconds to draw a batch of the default run."""
    from normlab.compose.from_words import compose
    from normlab.data import Batches, load_corpus

    config = compose([])
    corpus = load_corpus(config.data, config.model.context)
    batches = Batches(corpus, config.seed, config.train.batch_size, config.model.context)
    taken = []
    for step in range(500):
        began = time.perf_counter()
        batches.train(step)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cycles", type=int, default=10, help="times 20 steps each arm of the instruments' cost"
    )
    parser.add_argument("--quick", action="store_true", help="the instruments' cost alone")
    parser.add_argument("--tests", action="store_true", help="time the test suite too")
    options = parser.parse_args()
    normlab = [sys.executable, "-m", "normlab"]
    table = Table("what", "measured", title=f"normlab on {os.cpu_count()} cores")
    if not options.quick:
        whole_processes(table, normlab)
    for width in (64, 128):
        arms = {
            name: [f"measure={name}", f"model.width={width}", "train.threads=1"]
            for name in ("minimal", "standard", "full")
        }
        times = step_times(arms, options.cycles)
        for name, milliseconds in times.items():
            ratio = milliseconds / times["minimal"]
            table.add_row(f"a step, width {width}, measure={name}", f"{milliseconds:.1f} ms, {ratio:.3f}")
    draw = batch_time()
    table.add_row("drawing a batch", f"{draw:.3f} ms")
    if options.tests:
        table.add_row(
            "the test suite", f"{seconds([sys.executable, '-m', 'pytest', '-q', '-n', 'auto']):.0f} s"
        )
    Console().print(table)


def whole_processes(table: Table, normlab: list[str]) -> None:
    """Start-up and the default run."""
    table.add_row("normlab --help", f"{seconds([*normlab, '--help'], 5):.2f} s")
    table.add_row("normlab train --help", f"{seconds([*normlab, 'train', '--help'], 5):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        run = [*normlab, "train", f"hydra.run.dir={Path(folder) / 'run'}"]
        table.add_row("the default run, 300 steps", f"{seconds(run):.1f} s")


if __name__ == "__main__":
    main()
