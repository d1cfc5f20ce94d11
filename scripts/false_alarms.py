"""How often the detectors raise a false alarm: `python scripts/false_alarms.py RUN_DIR... [KEY=VALUE]...`.

Give it runs that are known to be healthy; whatever is found in them is false. It folds today's detectors over
their rows, with today's default thresholds, whatever the runs had. Such runs, for instance:

    normlab train -m hydra.sweep.dir=healthy train.steps=1000 measure=full \\
        placement=pre,deepnorm,sandwich depth=4,6,12 optimizer.lr=1e-3,2.5e-3 'seed=range(2)'
    normlab train -m hydra.sweep.dir=healthy-post train.steps=1000 measure=full \\
        placement=post warmup=100 depth=4,6,12 optimizer.lr=1e-3,2.5e-3 'seed=range(2)'
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from normlab.catalogue import groups
from normlab.catalogue.naming import flat
from normlab.divergence import KINDS
from normlab.errors import UserError
from normlab.runs.replay import replay, thresholds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="+", metavar="RUN_DIR | KEY=VALUE")
    words = parser.parse_args().words
    typed = [word for word in words if "=" in word and not Path(word).exists()]
    runs = [Path(word) for word in words if word not in typed]
    defaults = dict(flat(groups.defaults()["divergence"], "divergence."))
    overrides = [*(f"{key}={defaults[key]}" for key in thresholds()), *typed]
    found: Counter[str] = Counter()
    steps, console = 0, Console()
    for run in runs:
        done = replay(run, overrides)
        steps += done.rows
        found.update(event.kind for event in done.events)
        for event in done.events:
            console.print(f"{run.name}: {event.kind} at step {event.step}: {event.message}", highlight=False)
    table = Table("detector", "false events", "in 10,000 steps", title=f"{len(runs)} runs, {steps} steps")
    for kind in KINDS:
        table.add_row(kind, str(found[kind]), f"{1e4 * found[kind] / steps:.2f}")
    table.add_row("all", str(found.total()), f"{1e4 * found.total() / steps:.2f}")
    console.print(table)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
