"""`normlab describe`: what a config is and costs, without training it."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from normlab.compose.from_words import compose
from normlab.describe import page, side_by_side
from normlab.describe.facts import Description, describe
from normlab.describe.side_by_side import Side
from normlab.describe.words import Request, parse
from normlab.errors import UserError

__all__ = ["Description", "describe", "print_description"]


def print_description(words: Sequence[str]) -> None:
    """Print what `normlab describe WORDS` asks for.

    Raises:
        UserError: words that cannot be used; nothing is printed then.
    """
    request = parse(words)
    this = _side(request, request.overrides)
    against = None if request.against is None else _side(request, request.against)
    if request.as_json:
        record = this.found.record() if against is None else side_by_side.record(this, against)
        sys.stdout.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        return
    console = page.new_console()
    if against is None:
        page.show(page.sections(this.found, console), console)
    else:
        page.show(side_by_side.sections(this, against, console), console)


def _side(request: Request, overrides: Sequence[str]) -> Side:
    folder = None if request.config_dir is None else Path(request.config_dir)
    if folder is not None and not folder.is_dir():
        raise UserError(f"--config-dir {folder}: there is no such folder")
    config = compose(overrides, folder)
    title = shlex.join(overrides) if overrides else "the default run"
    return Side(title=title, config=config, found=describe(config, request.vocab))
