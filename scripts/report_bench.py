"""What a page of many runs costs: `python scripts/report_bench.py [--runs 100] [--steps 1000] [--depth 12]`.

It makes up a sweep, its numbers drawn at random but written by normlab's own writers with all that a default
run measures, and times `normlab report` on it. With `normlab[browser]` and a Chromium it times how it opens.
"""

import argparse
import itertools
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from normlab.catalogue import groups, naming
from normlab.report.report import PageTarget, print_report
from normlab.rundir.opening import Opening
from normlab.rundir.summary import Tally
from normlab.rundir.writer import RunDirectory
from normlab.sweep import read_jobs, write

PLACEMENTS = ("post", "pre", "sandwich", "deepnorm", "keel")
WARMUPS = (0, 50, 100, 200)
FLOORS = {"uniform": math.log(256), "unigram": 3.148, "bigram": 2.414}
KINDS = ("norm", "attn.qkv", "attn.out", "ffn.in", "ffn.out")
STREAM = ("rms", "variance", "max", "kurtosis", "cosine", "angle", "massive")
PLAIN = ("attention/max_logit", "attention/entropy", "attention/entropy_share", "ffn/dead", "ffn/dormant")
GAINS = ("gain/mean", "gain/min", "gain/max")
UPDATES = ("update/ratio", "update/cosine", "update/eps_ratio")


def make_sweep(folder: Path, runs: int, steps: int, depth: int) -> Path:
    """A sweep of placement, warm-up and seed in `folder`; the first placement without warm-up explodes."""
    seeds = max(2, -(-runs // (len(PLACEMENTS) * len(WARMUPS))))
    every = list(itertools.product(PLACEMENTS, WARMUPS, range(seeds)))[:runs]
    for number, (placement, warmup, seed) in enumerate(every):
        config = groups.defaults() | {"placement": groups.values("placement")[placement]}
        config |= {"depth": depth, "warmup": warmup, "seed": seed}
        config["train"] = config["train"] | {"steps": steps}
        _write_run(folder / f"{naming.slug(config)}-{naming.digest(config)}", config, number)
    write(folder, read_jobs(folder))
    return folder


def _write_run(directory: Path, config: dict[str, Any], number: int) -> None:
    explodes = config["placement"]["name"] == PLACEMENTS[0] and config["warmup"] == 0
    files, tally = RunDirectory({"normlab": "0.1.0", "packages": {"torch": "none"}, "threads": 1}), Tally()
    opening = Opening(
        directory=directory,
        config=config,
        name=directory.name,
        sweep=directory.parent.name,
        floors=FLOORS,
        parameters=1,
        first_step=0,
    )
    files.open(opening)
    event = _event(config["train"]["steps"] // 3)
    for row in _rows(config, np.random.default_rng(number), event["step"] if explodes else None):
        files.row(row)
        tally.row(row)
    if explodes:
        files.event(event)
    summary = {"status": "finished", "outcome": "exploded" if explodes else "stable", **tally.figures()}
    summary |= {"events": {}, "first_event": event if explodes else None, "sweep": opening.sweep}
    files.close(summary | {"floors": FLOORS, "batch_order": f"seed {config['seed']}", "sizes": {}})


def _rows(
    config: Mapping[str, Any], dice: np.random.Generator, broken: int | None
) -> Iterator[dict[str, Any]]:
    layers = [f"layer_{layer:02d}" for layer in range(config["depth"])]
    ends = ["embedding", *layers, "final_norm", "head"]
    for step in range(config["train"]["steps"]):
        size = 1.0 if broken is None or step < broken else 1.01 ** min(step - broken, 400)
        loss = (2.3 + 3.2 * math.exp(-step / 60)) * size + dice.normal(0, 0.05)
        row = {"step": step, "loss": loss, "lr": 0.0025, "tokens": 1024 * (step + 1)}

        def draw(row: dict[str, Any], names: Iterator[str], size: float = size) -> None:
            names = list(names)
            row |= zip(names, (size * dice.lognormal(-1, 0.3, len(names))).tolist(), strict=True)

        draw(row, ("grad_norm/global", "grad_norm/first_to_last", "time/seconds", "time/tokens_per_second"))
        draw(row, (f"{family}/{place}" for family in ("grad_norm", "grad_rms") for place in ends))
        draw(row, (f"grad_norm/{layer}/{kind}" for layer in layers for kind in KINDS))
        if step % 10 == 0:
            draw(row, (f"output/{name}" for name in ("log_z", "max_logit", "loss_p99")))
        if step % 20 == 0:
            families = (*(f"stream/{name}" for name in STREAM), *PLAIN, *GAINS, "grad_stream", *UPDATES)
            draw(row, (f"{family}/{layer}" for family in families for layer in layers))
            draw(row, (f"stream/{name}/{layer}/attn" for name in STREAM[:4] for layer in layers))
            draw(row, (f"attention/max_logit/{layer}/head_{head}" for layer in layers for head in range(4)))
        if step % 100 == 99:
            row["val/loss"] = loss
        yield row


def _event(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "kind": "explosion",
        "metric": "loss",
        "value": 9.0,
        "threshold": 6.0,
        "layers": ["layer_00"],
        "message": "the loss has been above its start",
        "end": None,
        "recovered": False,
        "recovery_steps": None,
    }


def opening_times(page: Path, repeats: int = 5) -> dict[str, float]:
    """Seconds to the browser's `load` and until all is drawn, medians; from playwright, and a Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        found = []
        for _ in range(repeats):
            tab = browser.new_page(viewport={"width": 1400, "height": 900})
            tab.goto(page.resolve().as_uri())
            tab.wait_for_selector("html[data-drawn=yes]")
            found.append(tab.evaluate(_TIMES))
            tab.close()
        browser.close()
    return {name: float(np.median([each[name] for each in found])) / 1000 for name in found[0]}


_TIMES = """() => ({
    load: performance.getEntriesByType("navigation")[0].loadEventEnd,
    drawn: performance.getEntriesByName("drawn")[0].startTime,
})"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, usual in (("runs", 100), ("steps", 1000), ("depth", 12)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--keep", type=Path, help="a folder for the sweep and its page")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="normlab-") as folder:
        root = wanted.keep or Path(folder)
        sweep, page = root / "sweep", root / "report.html"
        if not sweep.is_dir():
            make_sweep(sweep, wanted.runs, wanted.steps, wanted.depth)
        began = time.perf_counter()
        print_report([sweep], PageTarget(path=page, overwrite=True, force=True))
        print(f"written in {time.perf_counter() - began:.1f} s, {page.stat().st_size / 1e6:.2f} MB")
        try:
            for name, seconds in opening_times(page).items():
                print(f"{name} after {seconds:.2f} s")
        except ImportError:
            print("pip install 'normlab[browser]' to time how it opens", file=sys.stderr)


if __name__ == "__main__":
    main()
