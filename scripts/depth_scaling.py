"""How time and memory grow with depth: `python scripts/depth_scaling.py [--depths 10,100,1000] [KEY=VALUE]`.

DeepNorm of width 64 at context 64 and batch 8, with activation checkpointing and two micro-batches, each
depth in a process of its own on one thread. A table of the time of a step and of the peak of memory, and for
each the exponent p of y = a + b * depth^p where three depths rise by one factor: 1 is linear.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

WORDS = [
    "placement=deepnorm",
    "model.width=64",
    "model.context=64",
    "train.batch_size=8",
    "train.accumulation=2",
    "train.activation_checkpointing=true",
    "train.threads=1",
    "train.device=cpu",
    "tracker.mode=disabled",
]
#: The keys of a measurement, and their column titles.
COLUMNS = {"cpu": "CPU s a step", "wall": "s a step", "first": "CPU s, all measured", "memory": "peak GiB"}
_MEMORY_UNIT = 2**30 if sys.platform == "darwin" else 2**20  # ru_maxrss is in bytes there, else in KiB


def measure(words: list[str], steps: int) -> dict[str, float]:
    """Least CPU and wall seconds of a step, CPU seconds of the first, peak memory of this process in GiB.

    The first step, in which everything is measured, allocates as well.
    """
    from normlab.compose.from_words import compose
    from normlab.data import load_corpus
    from normlab.training.build import build
    from normlab.training.step import take_step

    config = compose(words)
    job = build(config, load_corpus(config.data, config.model.context))
    times = []
    for _ in range(1 + steps):
        cpu, wall = time.process_time(), time.perf_counter()
        row = take_step(job)
        job.ring.add(row)
        job.watch.update(row)
        job.step += 1
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        "parameters": sum(job.layout.sizes.values()),
        "cpu": min(cpu for cpu, _ in times[1:]),
        "wall": min(wall for _, wall in times[1:]),
        "first": times[0][0],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MEMORY_UNIT,
        "loss": row["loss"],
    }


def exponent(depths: list[int], values: list[float]) -> float | None:
    """p of y = a + b * x^p through three points whose x rise by one factor f: f^p = (y3 - y2) / (y2 - y1)."""
    if len(depths) != 3 or depths[1] * depths[1] != depths[0] * depths[2]:
        return None
    low, high = values[1] - values[0], values[2] - values[1]
    return math.log(high / low) / math.log(depths[1] / depths[0]) if low > 0 < high else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="other settings, as in normlab train")
    parser.add_argument("--depths", default="10,100,1000", help="of each a model; three for an exponent")
    parser.add_argument("--steps", type=int, default=3, help="timed steps")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure([*WORDS, *options.words], options.steps)))
        return
    depths = [int(depth) for depth in options.depths.split(",")]
    table = Table("depth", "parameters", *COLUMNS.values())
    found = []
    for depth in depths:
        command = [sys.executable, __file__, "--one", f"--steps={options.steps}"]
        done = subprocess.run(
            [*command, *options.words, f"depth={depth}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"depth {depth}: {done.stderr.strip() or done.returncode}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
        values = (f"{found[-1][key]:.3g}" for key in COLUMNS)
        table.add_row(str(depth), f"{found[-1]['parameters']:,}", *values)
    exponents = [exponent(depths, [each[key] for each in found]) for key in COLUMNS]
    table.add_row("exponent", "", *("-" if power is None else f"{power:.2f}" for power in exponents))
    Console().print(table)


if __name__ == "__main__":
    main()
