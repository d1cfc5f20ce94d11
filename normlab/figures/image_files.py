"""Figures onto the disk: PNG, SVG and PDF that are the same, byte for byte, whenever they are made."""

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normlab.disk.whole_files import replace_file
from normlab.errors import UserError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Format -> what to leave out of the file: when it was made, and by which version of what.
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}
#: Dots an inch of a PNG, and of what is pixels in the others.
DPI = 200
#: Endings of images that are not drawn; any other ending may be a folder's.
_OTHERS = ("gif", "jpg", "jpeg", "tif", "tiff", "webp", "bmp", "eps", "ps")
#: How an image of each format begins.
_HEADS = {"png": (b"\x89PNG",), "svg": (b"<?xml", b"<svg"), "pdf": (b"%PDF",)}


def formats(words: str) -> list[str]:
    """The formats of `png,svg`.

    Raises:
        UserError: one that there is not.
    """
    found = [word.strip().lower().removeprefix(".") for word in words.split(",") if word.strip()]
    for word in found:
        if word not in FORMATS:
            raise UserError(f"--format {word}: is not one of {', '.join(FORMATS)}.{nearest(word, FORMATS)}")
    return list(dict.fromkeys(found)) or ["png"]


def content(figure: "Figure", form: str) -> bytes:
    """The bytes of a figure's file."""
    file = BytesIO()
    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format=form, dpi=DPI, metadata=FORMATS[form])
    return file.getvalue()


def targets(out: Path, names: Sequence[str], forms: Sequence[str]) -> list[tuple[str, str, Path]]:
    """The file of each figure in each format: (name, format, path). `out` is a folder, or ends in `.png` and
    the like.

    Raises:
        UserError: several figures for one file, or a file in the way that is not an image of ours.
    """
    ending = out.suffix.lower().removeprefix(".")
    if ending in FORMATS and not out.is_dir():
        if len(names) > 1:
            raise UserError(f"-o {out}: there are {len(names)} figures ({', '.join(names)}); give a folder")
        found = [(name, ending, out) for name in names]
    else:
        if ending in _OTHERS and not out.is_dir():
            raise UserError(f"-o {out}: figures are {', '.join(FORMATS)}, not {ending}")
        if out.exists() and not out.is_dir():
            raise UserError(
                f"-o {out}: is a file that is no image; give a folder, or a name in .png, .svg or .pdf"
            )
        found = [(name, form, out / f"{name}.{form}") for name in names for form in forms]
    for _, form, path in found:
        _check_image(path, form)
    return found


def _check_image(path: Path, form: str) -> None:
    """An image may be replaced by an image; nothing else."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, where a figure is to be written; choose another name with -o")
    if path.exists():
        with path.open("rb") as file:
            head = file.read(8)
        if head and not head.startswith(_HEADS[form]):
            raise UserError(f"{path} is there and is no {form.upper()} image; choose another name with -o")


def write(figure: "Figure", form: str, path: Path) -> None:
    """Write a figure; a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content(figure, form))
