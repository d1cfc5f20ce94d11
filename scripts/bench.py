"""What normlab costs: `python scripts/bench.py [--steps N] [--tests]` prints a table.

The default run and start-up times are whole processes. The instruments' cost is measured in one process, with
the two arms taking turns, so that a busy machine slows both alike: the ratio is what counts.
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


def step_times(arms: dict[str, list[str]], steps: int) -> dict[str, float]:
    """Median milliseconds of a step under each set of overrides, the arms taking turns step by step."""
    from normlab.data import load_corpus
    from normlab.launch import compose
    from normlab.run import build
    from normlab.training.loop import take_step

    jobs = {}
    for name, overrides in arms.items():
        config = compose(overrides)
        jobs[name] = build(config, load_corpus(config.data, config.model.context))
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for step in range(steps + 5):
        for name, job in jobs.items():
            began = time.perf_counter()
            row = take_step(job)
            job.watch.update(row)
            job.step += 1
            if step >= 5:  # the first steps allocate
                taken[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(times) for name, times in taken.items()}


def batch_time() -> float:
    """Median milliseconds to draw a batch of the default run."""
    from normlab.data import Batches, load_corpus
    from normlab.launch import compose

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
    parser.add_argument("--steps", type=int, default=100, help="steps each arm of the instruments' cost")
    parser.add_argument("--tests", action="store_true", help="time the test suite too")
    options = parser.parse_args()
    normlab = [sys.executable, "-m", "normlab"]
    table = Table("what", "measured", title=f"normlab on {os.cpu_count()} cores")
    table.add_row("normlab --help", f"{seconds([*normlab, '--help'], 5):.2f} s")
    table.add_row("normlab train --help", f"{seconds([*normlab, 'train', '--help'], 5):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        run = [*normlab, "train", f"hydra.run.dir={Path(folder) / 'run'}"]
        table.add_row("the default run, 300 steps", f"{seconds(run):.1f} s")
    times = step_times({"on": [], "off": ["measure=minimal"]}, options.steps)
    table.add_row("a step, per-layer gradient norms on", f"{times['on']:.1f} ms")
    table.add_row("a step, off (global norm only)", f"{times['off']:.1f} ms")
    table.add_row("on / off", f"{times['on'] / times['off']:.3f}")
    draw = batch_time()
    table.add_row("drawing a batch", f"{draw:.3f} ms, {100 * draw / times['on']:.2f} % of a step")
    if options.tests:
        table.add_row("the test suite", f"{seconds([sys.executable, '-m', 'pytest', '-q']):.0f} s")
    Console().print(table)


if __name__ == "__main__":
    main()
