"""Each file of a run is opened once by a command that shows it, however many of its parts look at it."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from normlab.cli.app import app

FILES = ("config.yaml", "metrics.jsonl", "events.jsonl", "summary.json")
OPENED: Counter[str] = Counter()


def _note(event, arguments):
    if event == "open" and isinstance(arguments[0], str | bytes | Path):
        path = Path(str(arguments[0]))
        if path.name in FILES:
            OPENED[str(path.absolute())] += 1


@pytest.fixture(scope="module", autouse=True)
def _noted():
    sys.addaudithook(_note)  # cannot be taken away again


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "SWEEP"],
        ["compare", "SWEEP", "--target", "2.9"],
        ["report", "SWEEP", "-o", "OUT/page.html"],
        ["plot", "SWEEP", "-o", "OUT/figures"],
        ["runs", "SWEEP"],
        ["show", "RUN"],
        ["explain", "RUN"],
        ["replay", "RUN"],
        ["sweep", "status", "SWEEP"],
    ],
    ids=lambda words: " ".join(words),
)
def test_each_file_of_a_run_is_read_once(words, write, tmp_path):
    sweep = tmp_path / "sweep"
    runs = [
        write(sweep / f"{place}-{seed}", placement=place, seed=seed)
        for place in ("pre", "post")
        for seed in (0, 1)
    ]
    given = {"SWEEP": str(sweep), "RUN": str(runs[0])}
    OPENED.clear()
    typed = [given.get(word, word.replace("OUT", str(tmp_path))) for word in words]
    done = CliRunner().invoke(app, typed, prog_name="normlab")
    assert done.exit_code == 0, done.output
    read = {path: count for path, count in OPENED.items() if path.startswith(str(sweep))}
    assert read and set(read.values()) == {1}, read
