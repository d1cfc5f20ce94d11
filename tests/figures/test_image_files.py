"""Figures as files: the same bytes each time, fonts inside, nothing overwritten that is no image."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from normlab.errors import UserError
from normlab.figures import image_files
from normlab.figures.columns import columns
from normlab.figures.heat import heat, heat_maps
from normlab.figures.loss import Bundle, Facet, curve, loss_curves
from normlab.measure.families import FAMILIES


def figures(rows):
    found = columns(rows, ["grad_norm"])
    loss = loss_curves([Facet("", [Bundle("post", [curve(found)])])], {"unigram": 5.0}, "Loss")
    return loss, heat_maps([heat("", found, FAMILIES["grad_norm"])], FAMILIES["grad_norm"])


@pytest.mark.parametrize("form", image_files.FORMATS)
def test_the_same_figure_is_the_same_file(rows_of, form):
    first = [image_files.content(figure, form) for figure in figures(rows_of(40))]
    time.sleep(1.1)  # dates have seconds
    assert [image_files.content(figure, form) for figure in figures(rows_of(40))] == first
    other = [image_files.content(figure, form) for figure in figures(rows_of(41))]
    assert other[0] != first[0] and other[1] != first[1]
    assert not any(re.search(rb"20\d\d-\d\d-\d\dT|D:20\d\d|CreationDate", content) for content in first)


def test_a_pdf_has_its_fonts_as_truetype(rows_of):
    content = image_files.content(figures(rows_of(20))[0], "pdf")
    assert b"/FontFile2" in content and b"/Type3" not in content


def test_a_png_has_two_hundred_dots_an_inch(rows_of, tmp_path):
    image_files.write(figures(rows_of(20))[0], "png", tmp_path / "deep" / "loss.png")
    with Image.open(tmp_path / "deep" / "loss.png") as picture:
        assert picture.size == (1440, 780)
        assert picture.info["dpi"] == pytest.approx((200, 200), abs=0.1)


def test_letters_that_the_font_lacks_are_no_warning(rows_of):
    figure = loss_curves([Facet("", [Bundle("", [curve(columns(rows_of(3)))])])], {}, "層 🙂")
    for form in image_files.FORMATS:
        image_files.content(figure, form)


def test_formats_are_a_list_and_a_wrong_one_is_named():
    assert image_files.formats("png, SVG,png,.pdf") == ["png", "svg", "pdf"]
    with pytest.raises(UserError, match=r"--format pgn: .*Did you mean 'png'"):
        image_files.formats("pgn")


def test_targets_are_files_in_a_folder_or_the_one_file(tmp_path):
    found = image_files.targets(tmp_path, ["loss", "heat"], ["png", "svg"])
    assert [path.name for _, _, path in found] == ["loss.png", "loss.svg", "heat.png", "heat.svg"]
    assert image_files.targets(tmp_path / "a.PDF", ["loss"], ["png"]) == [("loss", "pdf", tmp_path / "a.PDF")]
    with pytest.raises(UserError, match=r"there are 2 figures \(loss, heat\); give a folder"):
        image_files.targets(Path("a.pdf"), ["loss", "heat"], ["png"])


def test_an_image_is_replaced_and_anything_else_is_not(rows_of, tmp_path):
    figure = figures(rows_of(3))[0]
    for form in image_files.FORMATS:
        path = tmp_path / f"loss.{form}"
        image_files.write(figure, form, path)
        image_files.targets(path, ["loss"], ["png"])
        path.write_text("my notes")
        with pytest.raises(UserError, match=f"is there and is no {form.upper()} image"):
            image_files.targets(path, ["loss"], ["png"])
        with pytest.raises(UserError, match="choose another name"):
            image_files.targets(tmp_path, ["loss"], [form])
        path.write_text("")
        image_files.targets(path, ["loss"], ["png"])
        path.unlink()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is a file that is no image"):
        image_files.targets(tmp_path / "notes.txt", ["loss"], ["png"])
    (tmp_path / "loss.png").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        image_files.targets(tmp_path, ["loss"], ["png"])


def test_an_image_that_is_not_drawn_is_refused_and_a_folder_may_have_a_dot(tmp_path):
    with pytest.raises(UserError, match="figures are png, svg, pdf, not gif"):
        image_files.targets(tmp_path / "x.gif", ["loss"], ["png"])
    [(_, _, path)] = image_files.targets(tmp_path / "v1.2", ["loss"], ["png"])
    assert path == tmp_path / "v1.2" / "loss.png"


def test_figures_are_drawn_under_the_backend_of_a_notebook_that_is_not_installed_here():
    script = (
        "from normlab.figures.style import look\n"
        "with look():\n    import os, matplotlib.figure; print(os.environ['MPLBACKEND'])"
    )
    notebook = "no_such_backend"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"MPLBACKEND": notebook},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{notebook}\n"), done.stderr
