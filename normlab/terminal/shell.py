"""Write commands so that they can be pasted into a shell."""

import shlex
from pathlib import Path


def path(place: Path | str) -> str:
    """`place` as one word, which is no option even where it begins with a dash."""
    text = str(place)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
