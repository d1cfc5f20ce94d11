"""What a probe leaves becomes curves and slopes again."""

import csv
import json

import pytest

from normlab.errors import RunDirectoryError
from normlab.figures import image
from normlab.figures.probe import groups_of, probe_figure, slopes_figure, slopes_of
from normlab.probe.curves import panels
from normlab.probe.reading import find_probes, read_probe

ROWS = [
    {"placement": placement, "depth": depth, "seed": seed, "grad_last_ffn": depth**0.5 * (1 + seed)}
    | {"stream_variance_by_block": [1.0] * depth}
    for placement in ("post", "pre")
    for depth in (2, 4, 8)
    for seed in (0, 1)
]
SLOPES = [
    {"placement": "post", "quantity": "grad_last_ffn", "against": "depth", "mean": 0.5, "sd": 0.1}
    | {"ci": [0.3, 0.7], "seeds": 2},
    {"placement": "pre", "quantity": "grad_last_ffn", "against": "depth", "mean": -0.5, "sd": None}
    | {"ci": None, "seeds": 1},
    {"placement": "pre", "quantity": "loss_excess", "against": "depth", "mean": None, "sd": None}
    | {"ci": None, "seeds": 0, "problem": "not finite at depth 4"},
]


def write_probe(directory, rows=ROWS, slopes=SLOPES):
    directory.mkdir(parents=True)
    (directory / "probe.json").write_text(json.dumps({"rows": rows, "slopes": slopes}))


def test_a_probe_is_found_and_drawn(tmp_path):
    write_probe(tmp_path / "probes" / "one")
    (directory,) = find_probes(tmp_path)
    rows, slopes = read_probe(directory)
    shown = panels(rows, groups_of(rows))
    assert list(shown) == ["gradient, last FFN", "stream variance by block"]
    figure = probe_figure(shown, "$title$")
    image(figure)
    line = next(line for line in figure.axes[0].lines)
    assert line.get_xydata().tolist() == [[depth, 1.5 * depth**0.5] for depth in (2, 4, 8)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["post", "pre"]
    found = slopes_of(slopes)
    assert [(slope.group, slope.mean, slope.interval) for slope in found] == [
        ("post", 0.5, (0.3, 0.7)),
        ("pre", -0.5, None),
    ]
    axes = slopes_figure(found).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["grad_last_ffn (depth)"]
    points = sorted(line.get_xdata()[0] for line in axes.lines if line.get_marker() in ("o", "s"))
    assert points == [-0.5, 0.5]
    assert [0.3, 0.7] in [list(line.get_xdata()) for line in axes.lines]


def test_a_probe_that_was_killed_has_its_rows(tmp_path):
    (tmp_path / "probe").mkdir()
    rows = [{key: value for key, value in row.items() if "block" not in key} for row in ROWS]
    with (tmp_path / "probe" / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found, slopes = read_probe(tmp_path / "probe")
    assert found == rows and slopes == []
    assert list(panels(found, groups_of(found))) == ["gradient, last FFN"]


@pytest.mark.parametrize("content", ["{", "[]", '{"rows": [{"depth": "x"}], "slopes": []}', '{"rows": 3}'])
def test_another_file_by_that_name_is_refused(tmp_path, content):
    (tmp_path / "probe.json").write_text(content)
    with pytest.raises(RunDirectoryError, match="not the folder of a probe"):
        read_probe(tmp_path)
