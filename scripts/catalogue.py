"""Writes `normlab/catalogue/CATALOGUE.md` from the tables; `--check` only says whether it is current."""

import argparse
import sys
from pathlib import Path

from normlab.cli import listing

TARGET = Path(__file__).resolve().parent.parent / "normlab" / "catalogue" / "CATALOGUE.md"
#: The tables of the model and its training; datasets and studies are the user's own.
PARTS = ("norms", "placements", "activations", "inits", "gains", "optimizers", "schedules", "positions")


def text() -> str:
    """The catalogue in Markdown."""
    lines = [
        "# What can be chosen",
        "",
        "Made from the tables in `normlab/catalogue/` by `python scripts/catalogue.py`: change those.",
    ]
    for name in PARTS:
        listed = listing.TABLES[name]
        lines += ["", f"## {name.capitalize()}: {listed.meaning}", "", f"`{listed.use}`", ""]
        entries = listed.entries()
        facts = list(dict.fromkeys(column for entry in entries for column in entry.facts))
        columns = ["name", "what", "equation", *facts, "source"]
        lines += [_row(columns), _row(["---"] * len(columns))]
        for entry in entries:
            equation = f"`{entry.equation}`" if entry.equation else ""
            own = [entry.facts.get(column, "") for column in facts]
            lines.append(_row([f"`{entry.name}`", entry.meaning, equation, *own, entry.source]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    if parser.parse_args().check:
        current = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text()
        sys.exit(0 if current else "normlab/catalogue/CATALOGUE.md is old: run python scripts/catalogue.py")
    TARGET.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
