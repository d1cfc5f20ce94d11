"""The page as a file: what it says, that it lets nothing in or out, and what it makes of bad input."""

import base64
import dataclasses
import hashlib
import json
import math
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from normlab.catalogue import naming
from normlab.cli.app import app
from normlab.compare.compare import compare
from normlab.compose.from_words import compose
from normlab.disk.strict_json import line_of
from normlab.report import render
from normlab.runs.reader import load

#: What must not get out of the text that it stands in.
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '" onload="alert(3)',
    "' onfocus='alert(3)' autofocus x='",
    "</style></title><!--",
    "{{ 7 * 7 }} {% raw %}",
    "a & b &lt; &amp;",
    "one\u2028two\u2029three\u202efour\x00five\x1b[31m",
    "]]>",
]


def rewrite(path, **changes):
    """Change the keys of a JSON file that are there, add the others."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_nothing_in_it_comes_from_outside_and_nothing_but_its_own_scripts_may_run(page, few):
    found = page(few)
    [policy] = [a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and not {"connect-src", "img-src", "font-src"} & rules.keys()
    assert "unsafe" not in policy and "http" not in policy

    def hashed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    running = [text for attributes, text in found.scripts if "type" not in attributes]
    assert rules["script-src"].split() == list(map(hashed, running))
    assert rules["style-src"].split() == list(map(hashed, found.styles))
    assert all(a["type"] in ("text/plain", "application/json") for a, _ in found.scripts if "type" in a)
    for tag, attributes in found.tags:
        assert not {"src", "style", "srcset", "action"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("href", "#").startswith("#"), tag
    assert "innerHTML" not in "".join(running[1:])  # the first is uPlot's


def test_parts_are_named_once_and_links_lead_to_parts(page, few):
    found = page(few)
    names = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(names) == len(set(names))
    links = [attributes["href"].removeprefix("#") for tag, attributes in found.tags if tag == "a"]
    assert links == ["outcomes", "comparison", "curves", "depth", "events", "settings", "runs"]
    assert set(links) <= set(names)
    assert [a for tag, a in found.tags if tag == "html"] == [{"lang": "en"}]


def test_it_has_the_tables_of_compare(page, few):
    found = page(few)
    sheets = compare(load(few)).sheets
    assert [table[1:] for table in found.tables] == [sheet.filled().texts() for sheet in sheets]
    assert [table[0] for table in found.tables] == [
        [c.title for c in sheet.filled().columns] for sheet in sheets
    ]


def test_every_value_of_every_curve_is_in_it(page, few):
    found, runs = page(few), load(few)
    assert len(found.data["runs"]) == len(runs) == 6
    for run, drawn in zip(runs, found.data["runs"], strict=True):
        for metric in ("loss", "grad_norm/layer_01", "grad_norm/embedding", "grad_norm/first_to_last"):
            steps, values = map(found.numbers, drawn["curves"][metric])
            assert steps.tolist() == run.rows["step"].tolist()
            assert values == pytest.approx(run.rows[metric].tolist(), rel=1e-6)


def test_a_spike_of_one_step_in_five_thousand_is_in_curve_and_map(page, tmp_path, write, layers):
    def spike(row):
        row["grad_norm/layer_01"] = 300.0 if row["step"] == 3217 else 1.0

    layers(write(tmp_path / "run", 2.5, steps=5000), spike)
    found = page(tmp_path)
    [run] = found.data["runs"]
    values = found.numbers(run["curves"]["grad_norm/layer_01"][1])
    assert values.argmax() == 3217 and (values == 300).sum() == 1
    heat = run["maps"]["grad_norm"]
    table = found.numbers(heat["values"]).reshape(len(heat["places"]), -1)
    assert heat["places"] == ["embedding", "layer_00", "layer_01", "head"]
    assert table.shape[1] == 200 and (table[2] == 300).sum() == 1
    edges = found.numbers(heat["edges"])
    assert edges[table[2].argmax()] <= 3217 < edges[table[2].argmax() + 1]


def test_numbers_that_are_not_finite_arrive(page, tmp_path, write, layers):
    def broken(row):
        row["loss"] = {3: math.nan, 4: math.inf}.get(row["step"], row["loss"])

    layers(write(tmp_path / "run", 2.5, summary={"outcome": "nonfinite"}), broken)
    found = page(tmp_path)
    values = found.numbers(found.data["runs"][0]["curves"]["loss"][1])
    assert math.isnan(values[3]) and values[4] == math.inf and math.isfinite(values[5])


def made_hostile(directory, text, event):
    """Put `text` wherever a run has words."""
    config = json.loads((directory / "config.yaml").read_text())
    config["data"]["path"] = text
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    rewrite(directory / "summary.json", sweep=text, origin=text, floors={text: 1.0}, events={text: 1})
    rewrite(
        directory / "summary.json", outcome=text, first_event=event(kind=text, message=text, layers=[text])
    )
    (directory / "environment.json").write_text(json.dumps({"normlab": text, "packages": {"torch": text}}))
    events = [event(kind=text, metric=text, layers=[text, text], message=text)]
    (directory / "events.jsonl").write_bytes(b"".join(map(line_of, events)))
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    rows = [row | {text: 1.0, f"{text}/layer_00": 1.0, f"{text}/layer_01": 2.0} for row in rows]
    (directory / "metrics.jsonl").write_bytes(b"".join(map(line_of, rows)))


def shape(found):
    return [(tag, sorted(attributes)) for tag, attributes in found.tags]


def test_words_of_a_run_stay_words(page, tmp_path, write, layers, event):
    pages = []
    for name, texts in (("plain", [f"harmless{n}" for n in range(len(HOSTILE))]), ("hostile", HOSTILE)):
        for seed, text in enumerate(texts):
            folder = re.sub("[/\0]", "_", text)
            directory = write(tmp_path / name / f"{seed}-{folder}", 2.5, seed=seed)
            layers(directory)
            made_hostile(directory, text, event)
        pages.append(page(tmp_path / name, title="".join(texts), force=True))
    plain, hostile = pages
    assert shape(hostile) == shape(plain)
    for text, run in zip(HOSTILE, hostile.data["runs"], strict=True):
        seen = "".join(letter if letter.isprintable() else "?" for letter in text)
        assert hostile.texts.count(seen) >= 4  # its outcome, and its event's kind and message
        assert run["outcome"] == seen and run["floors"] == {seen: 1.0}
        assert run["events"][0]["message"] == seen and run["events"][0]["layers"] == [seen, seen]
        assert run["knobs"]["data.path"] == seen and run["label"].startswith(f"seed={run['knobs']['seed']} ")
    assert all(letter.isprintable() or letter == "\n" for text in hostile.texts for letter in text)
    raw = next(content for attributes, content in hostile.scripts if attributes.get("id") == "report")
    assert not set("<>&\u2028\u2029") & set(raw)


def test_the_command_makes_the_run_once_more(page, tmp_path, write):
    write(
        tmp_path / "run",
        2.5,
        placement="deepnorm",
        depth=7,
        warmup=5,
        seed=3,
        measure="full",
        train__threads=1,
    )
    [run] = load(tmp_path)
    text = next(text for text in page(tmp_path).texts if text.startswith("normlab train "))
    made = dict(naming.flat(dataclasses.asdict(compose(shlex.split(text)[2:]))))
    config = {
        key: value for key, value in naming.flat(run.config) if not key.startswith(("tracker", "sweep"))
    }
    assert [key for key, value in config.items() if str(made[key]) != str(value)] == []


def test_one_run_has_no_grid_and_says_what_became_of_it(page, tmp_path, write, layers):
    layers(write(tmp_path / "run", 2.5))
    found = page(tmp_path)
    names = {attributes.get("id") for _, attributes in found.tags}
    assert not {"outcomes", "chosen", "settings"} & names
    assert {"answer", "curves", "depth", "events", "run-0"} <= names
    assert "What became of this run?" in found.text and "Nothing happened" in found.text


def test_runs_cut_short_are_drawn_and_marked_and_compared_with_none(page, few):
    cut = few / "post-1"
    lines = (cut / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_bytes(b"".join(lines[:12]) + b'{"step": 12, "lo')
    rewrite(cut / "summary.json", status="interrupted")
    found = page(few)
    [run] = [run for run in found.data["runs"] if run["cut"]]
    assert run["cut"] == "interrupted after 12 of 30 steps" and run["knobs"]["placement"] == "post"
    assert found.numbers(run["curves"]["loss"][0]).tolist() == list(range(12))
    assert "1 run did not finish" in found.text and "line 13 is not a row" in found.text
    rows = next(table for table in found.tables if table[0][:2] == ["placement", "n"])
    assert {row[0]: row[1] for row in rows[1:]} == {"pre": "2", "post": "1", "deepnorm": "2"}


def test_where_no_run_is_finished_there_is_a_page_without_tables(page, tmp_path, write):
    for seed in range(2):
        write(tmp_path / f"run-{seed}", 2.5, seed=seed, summary={"status": "interrupted"})
    found = page(tmp_path)
    assert "no run is finished" in found.text and len(found.data["runs"]) == 2
    assert not [a for tag, a in found.tags if a.get("id") == "comparison"]


@pytest.mark.parametrize("lost", ["config.yaml", "summary.json", "events.jsonl", "metrics.jsonl"])
def test_a_run_that_lost_a_file_is_there_with_what_is_left(page, tmp_path, write, lost):
    for seed in range(2):
        write(tmp_path / f"run-{seed}", 2.5, seed=seed)
    (tmp_path / "run-1" / lost).unlink()
    whole, damaged = page(tmp_path).data["runs"]
    assert "loss" in whole["curves"] and ("loss" in damaged["curves"]) == (lost != "metrics.jsonl")


def test_without_layers_there_are_no_maps(page, tmp_path, write):
    write(tmp_path / "run", 2.5)
    found = page(tmp_path)
    assert found.data["families"] == [] and found.data["curves"][0]["name"] == "loss"


def call(*words):
    return CliRunner().invoke(app, ["report", *map(str, words)])


def test_the_command_writes_the_page_and_says_so(tmp_path, few):
    done = call(few, "-o", tmp_path / "page.html", "--title", "Three & more")
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"{tmp_path / 'page.html'}: 6 runs, ")
    assert "<title>Three &amp; more</title>" in (tmp_path / "page.html").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "few"}


def test_a_page_that_is_there_is_replaced_only_if_told_to(tmp_path, few):
    target = tmp_path / "page.html"
    target.write_text("mine")
    done = call(few, "-o", target)
    assert done.exit_code == 2 and "--overwrite" in done.output and target.read_text() == "mine"
    assert call(few, "-o", target, "--overwrite").exit_code == 0
    assert "<!doctype html>" in target.read_text()


@pytest.mark.parametrize(
    ("paths", "target", "words"),
    [
        ([], "page.html", "which runs?"),
        (["empty"], "page.html", "holds no run"),
        (["nowhere"], "page.html", "there is no such folder"),
        (["few"], "nowhere/page.html", "there is no folder"),
        (["few"], "empty", "is a folder"),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(tmp_path, few, paths, target, words):
    (tmp_path / "empty").mkdir()
    done = call(*(tmp_path / path for path in paths), "-o", tmp_path / target)
    assert done.exit_code == 2 and done.output.startswith("error: ") and words in done.output
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "few"}


def test_runs_on_different_texts_are_refused_unless_forced(tmp_path, write):
    write(tmp_path / "a", 2.5, seed=0)
    write(tmp_path / "b", 2.5, seed=1, summary={"floors": {"uniform": 4.0}, "status": "interrupted"})
    done = call(tmp_path, "-o", tmp_path / "page.html")
    assert done.exit_code == 2 and "different texts" in done.output
    assert not (tmp_path / "page.html").exists()
    assert call(tmp_path, "-o", tmp_path / "page.html", "--force").exit_code == 0


def test_the_same_runs_make_the_same_page(tmp_path, write):
    for name in ("a.html", "b.html"):
        path = tmp_path / "run"
        path.exists() or write(path, 2.5)
        assert call(path, "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_every_script_and_style_of_the_folder_is_in_the_page():
    folder = Path(render.__file__).parent
    files = {str(path.relative_to(folder)) for kind in ("js", "css") for path in folder.rglob(f"*.{kind}")}
    assert files == {*render._SCRIPTS, *render._STYLES}
    assert "1.6.32" in (folder / "uplot" / "uPlot.iife.min.js").read_text()[:200]


def test_the_licence_of_the_library_goes_with_it(page, tmp_path, write):
    write(tmp_path / "run", 2.5)
    [text] = [text for attributes, text in page(tmp_path).scripts if attributes.get("id") == "licence"]
    assert text.startswith("The MIT License (MIT)") and "Leon Sorokin" in text


def test_the_page_measures_against_the_baseline_that_is_asked_for(tmp_path, sweep):
    for wanted in ("placement=pre", "placement=post"):
        path = tmp_path / f"{wanted}.html"
        assert call(sweep, "-o", path, "--baseline", wanted).exit_code == 0
        assert f"Against {wanted}" in path.read_text()
