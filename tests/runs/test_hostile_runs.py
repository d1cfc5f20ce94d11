"""Run directories that are not ours: each damaged or hostile file is one line and the rest is read.

What a YAML or JSON text may hold is in `test_untrusted.py`; here, that every reader of a run reads so.
"""

import copy
import json
import math
import os
import time

import pytest

from normlab.catalogue import groups
from normlab.compare.compare import Sources, print_comparison
from normlab.compare.study import CompareOptions
from normlab.compose.saved_config import as_plain, from_plain, load_config
from normlab.config import TrackerConfig
from normlab.errors import RunDirectoryError, UserError, shown
from normlab.explain.page import print_explanation
from normlab.report.report import PageTarget, print_report
from normlab.rundir import reading, resuming
from normlab.rundir.reading import readable_events, readable_rows
from normlab.rundir.settings import read_settings
from normlab.rundir.writer import read_rows, read_summary
from normlab.runs.reader import load, read
from normlab.runs.recorded import read_recorded
from normlab.runs.replay_view import print_replay
from normlab.runs.run_list import print_runs
from normlab.runs.show import print_run
from normlab.runs.sync import SyncTarget, sync
from normlab.runs.sync import _content as content_of
from normlab.sinks.wandb.mirror import note_of, read_note
from normlab.sweep.jobs import read_jobs
from normlab.sweep.record import recorded_command
from normlab.sweep.status import print_status

#: A colour, a bell, a right-to-left mark, an escape of one byte, Rich's markup.
ESCAPES = "\x1b[31mred\x07\u202e\x9b31m[/red]"
_BOMB = ", ".join(["k0: &k0 [x, x]", *(f"k{n}: &k{n} [*k{n - 1}, *k{n - 1}]" for n in range(1, 30))])
_BOMB_OF_MAPPINGS = (
    _BOMB.replace("[x, x]", "{a: 1}").replace("[", "{a: ").replace(", *", ", b: *").replace("]", "}")
)
#: One of each kind that `test_untrusted` has.
REFUSED_YAML = {
    "aliases to lists": _BOMB,
    "aliases to mappings": _BOMB_OF_MAPPINGS,
    "a cycle": "a: &a [*a]",
    "deep": "a: " + "[" * 5000,
    "a set": "a: !!set {b}",
    "bytes": "a: !!binary aGVsbG8=",
    "digits": "a: " + "9" * 400,
}
REFUSED_JSON = {
    "deep": b"[" * 100_000,
    "digits": b'{"step": 0, "status": ' + b"9" * 400 + b"}",
    "nothing": b"",
    "zeros": b"\0" * 4096,
}
SPECIAL = ("missing", "folder", "pipe", "circle", "endless")


def special(path, kind):
    """Something else than a file in its place."""
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to(path.name if kind == "circle" else "/dev/zero")


def hostile_configs():
    """By name: the whole file."""
    yield "text", b"\xff\xfe\x00"
    yield "list", b"- 1"
    good = json.dumps(groups.defaults())[:-1]
    for name, text in REFUSED_YAML.items():
        yield f"{name}, unknown key", f'{good}, "zzz": {{{text}}}}}'.encode()
        yield f"{name}, known key", good.replace('"entity": null', f'"entity": {{{text}}}').encode() + b"}"


@pytest.fixture(scope="module")
def default():
    return from_plain(copy.deepcopy(groups.defaults()))


@pytest.mark.parametrize("name", [*dict(hostile_configs()), *SPECIAL])
def test_a_hostile_config_is_one_line_to_every_reader_of_runs(write, default, tmp_path, name):
    path = write(tmp_path / "sweep" / "a")
    config = path / "config.yaml"
    special(config, name) if name in SPECIAL else config.write_bytes(dict(hostile_configs())[name])
    began = time.process_time()
    run = read(path)
    assert run.config == {} and run.status == "finished"
    check_line(" ".join(run.notes), "config.yaml")
    [job] = read_jobs(path.parent)
    assert job.config == {}
    for reader in (load_config, lambda file: resuming.check_same(default, file.parent)):
        with pytest.raises(RunDirectoryError) as refused:
            reader(config)
        check_line(str(refused.value), str(path))
    assert time.process_time() - began < 5


def check_line(told, file):
    assert file in told and told.isprintable() and len(told) < 400


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *[("tracker.entity", text) for text in ("${oc.env:SECRET}", "a ${tracker.project} b", "\\${depth}")],
        *[(key, "${oc.env:SECRET}") for key in ("data.path", "placement.second_scale", "norm.name", "zzz")],
    ],
)
def test_nothing_in_a_config_is_resolved(write, tmp_path, monkeypatch, key, text):
    monkeypatch.setenv("SECRET", "hidden")
    path = write(tmp_path / "a")
    content = json.loads((path / "config.yaml").read_text())
    *group, last = key.split(".")
    node = content[group[0]] if group else content
    node[last] = text
    (path / "config.yaml").write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match=rf"config.yaml: {key}: refers to a value by") as refused:
        load_config(path / "config.yaml")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("text", ["${oc.env:SECRET}", "\\${a}", "a\\\\${b} ${", "$", "{}", "\\"])
def test_a_config_that_was_checked_goes_to_a_child_process_as_it_is(monkeypatch, text):
    monkeypatch.setenv("SECRET", "hidden")
    content = copy.deepcopy(groups.defaults())
    content["tracker"]["entity"] = text
    assert as_plain(from_plain(content))["tracker"]["entity"] == text


def test_a_config_of_too_many_values_is_refused_before_they_are_checked(write, tmp_path):
    path = write(tmp_path / "a")
    content = json.loads((path / "config.yaml").read_text())
    content["placement"]["exceptions"] = [{}] * 6000
    (path / "config.yaml").write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match="placement has more than 5,000 values"):
        load_config(path / "config.yaml")


@pytest.mark.parametrize(("key", "value"), [("depth", 10**9), ("depth", 10**30), ("model.width", 10**9)])
def test_a_number_out_of_range_names_the_file_and_the_key(write, tmp_path, key, value):
    path = write(tmp_path / "a", **{key.replace(".", "__"): value})
    with pytest.raises(UserError, match=f"config.yaml: {key}: must be .* or less"):
        load_config(path / "config.yaml")


@pytest.mark.parametrize("group", ["norm", "optimizer", "schedule", "init", "activation"])
@pytest.mark.parametrize("name", [ESCAPES, "x" * 1_000_000])
def test_a_name_that_no_table_has_is_one_line_that_names_the_file(write, tmp_path, group, name):
    path = write(tmp_path / "a")
    content = json.loads((path / "config.yaml").read_text())
    content[group]["name"] = name
    (path / "config.yaml").write_text(json.dumps(content))
    for read_again in (
        read_recorded,
        lambda run: load_config(run / "config.yaml", ["train.steps=99"]),
        print_explanation_of,
    ):
        with pytest.raises(UserError, match=f"config.yaml: {group}: '") as refused:
            read_again(path)
        assert len(shown(refused.value)) < 1000 and refused.value.args[0].isprintable()


def print_explanation_of(path):
    print_explanation(path, as_json=False)


def test_a_run_with_a_tracker_that_is_none_does_not_keep_others_from_being_sent(write, tmp_path, capsys):
    write(tmp_path / "a", tracker__mode=ESCAPES)
    write(tmp_path / "b", tracker__mode=ESCAPES)
    assert sync([tmp_path], SyncTarget(offline=True)) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("not sent: config.yaml: tracker.mode: '" in line for line in lines)


@pytest.mark.parametrize("kind", ["missing", "folder", "circle", "endless"])
@pytest.mark.parametrize("file", ["metrics.jsonl", "events.jsonl"])
def test_what_a_run_has_to_send_ends_though_a_file_does_not(write, tmp_path, kind, file):
    path = write(tmp_path / "a")
    special(path / file, kind)
    assert len(content_of(read(path), TrackerConfig())) == 64


def test_every_setting_of_another_shape_is_found(tmp_path):
    known, path = groups.known_keys(), tmp_path / "config.yaml"
    for wrong in ([[1]], {"a": 1}):
        content = {"norm": {}}
        for key in known:
            *group, last = key.split(".")
            node = content
            for part in group:
                node = node.setdefault(part, {})
            node[last] = "layernorm" if last == "name" else wrong
        path.write_text(json.dumps(content))
        with pytest.raises(
            RunDirectoryError, match=r"is not the config of a run: .* and (\d+) more"
        ) as refused:
            read_settings(path)
        fitting = [key for key, each in known.items() if str(each.type).startswith(type(wrong).__name__)]
        named = [key for key in known if key.endswith(".name") or key == "name"]
        more = int(str(refused.value).split(" and ")[-1].split()[0])
        assert more + 3 == len(known) - len(set(fitting) | set(named))


WRONG = {"a list": [1], "a mapping": {"a": [1]}, "digits": 10**400, "deep": [[[[]]]], "a text": ESCAPES * 100}
#: Keys of a summary whose values are numbers, words, mappings.
NUMBERS = ("steps", "seconds", "parameters", "loss/final", "val/final", "spike_score/6sigma_128", "signal")
WORDS = ("status", "outcome", "name", "sweep", "batch_order", "first_event_layer")


@pytest.mark.parametrize("wrong", WRONG)
def test_a_summary_with_a_value_of_another_type_names_it(write, tmp_path, wrong):
    path = write(tmp_path / "a")
    summary = json.loads((path / "summary.json").read_text())
    for key in [*NUMBERS, *WORDS, "floors", "events", "sizes", "first_event"]:
        value = {"layers": 1} if (key, wrong) == ("first_event", "a mapping") else WRONG[wrong]
        (path / "summary.json").write_text(json.dumps({**summary, key: value}))
        with pytest.raises(RunDirectoryError) as refused:
            read_summary(path)
        check_line(str(refused.value), str(path / "summary.json"))
        assert key in str(refused.value) or "digits" in str(refused.value)
    assert read(path).status == "damaged"


@pytest.mark.parametrize("name", [*REFUSED_JSON, *SPECIAL])
@pytest.mark.parametrize("file", ["summary.json", "events.jsonl", "metrics.jsonl"])
def test_a_hostile_file_of_a_run_is_a_note_or_a_refusal(write, tmp_path, file, name):
    path = write(tmp_path / "sweep" / "a")
    special(path / file, name) if name in SPECIAL else (path / file).write_bytes(REFUSED_JSON[name])
    began = time.process_time()
    run = read(path)
    run.read_ends(5)
    read_jobs(path.parent)
    for note in run.notes:
        check_line(note, file)
    try:
        known = read_recorded(path)
        notes = known.notes
    except UserError as refused:
        notes = [str(refused)]
    assert (file == "events.jsonl" and name in ("nothing", *SPECIAL)) or any(file in note for note in notes)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", [*REFUSED_JSON, *SPECIAL])
def test_a_hostile_note_of_a_mirror_counts_as_none(write, tmp_path, name):
    note = note_of(write(tmp_path / "a"))
    note.parent.mkdir()
    special(note, name) if name in SPECIAL else note.write_bytes(REFUSED_JSON[name])
    assert read_note(note) == {}
    if name not in SPECIAL:
        note.write_text(json.dumps({"id": [1], "mode": "online"}))
        assert read_note(note) == {}


EVENT = {"step": 3, "kind": "spike", "metric": "loss", "value": 1.5, "threshold": 1.0, "message": "up"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[(key, value) for key in ("step", "kind", "metric") for value in (None, [1], {}, 10**30, True)],
        *[
            (key, value)
            for key in ("end", "peak_step", "recovery_steps")
            for value in ([1], -1, 1.5, "x", 2**60)
        ],
        *[(key, value) for key in ("value", "threshold", "peak") for value in ([1], "x", {})],
        *[("layers", value) for value in ("layer_00", 1, [1], {})],
        *[("message", value) for value in (1, [])],
        ("recovered", "yes"),
    ],
)
def test_an_event_with_a_field_of_another_type_is_left_out_and_said(tmp_path, key, value):
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(EVENT) + "\n" + json.dumps({**EVENT, key: value}) + "\n")
    events, notes = readable_events(path)
    assert events == [EVENT] and notes == ["events.jsonl: line 2 is not an event and left out"]


@pytest.mark.parametrize("step", [None, -1, 1.5, "1", [1], True, 2**60, "NaN"])
def test_a_row_without_a_step_is_left_out_and_said(tmp_path, step):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 0, "loss": 1.0, "x": [1], "y": {}, "z": "a"}\n' + json.dumps({"step": step}) + "\n"
    )
    rows, notes = readable_rows(path)
    assert rows == [{"step": 0, "loss": 1.0}]
    assert notes == ["metrics.jsonl: line 2 is not a row and left out"]
    with pytest.raises(RunDirectoryError, match="line 1: not a JSON object that is a row"):
        read_rows(path)


@pytest.mark.parametrize(("reader", "name"), [(readable_rows, "metrics"), (readable_events, "events")])
def test_a_file_of_lines_that_are_none_is_read_so_far_only(tmp_path, monkeypatch, reader, name):
    monkeypatch.setattr(reading, "_MOST_LEFT_OUT", 10)
    path = tmp_path / f"{name}.jsonl"
    good = json.dumps({**EVENT, "loss": 1.0, "layers": []}) + "\n"
    path.write_text(good + "{x\n" * 10 + good.replace("3", "4"))
    found, notes = reader(path)
    assert len(found) == 1 and notes[-1] == f"{name}.jsonl: what follows line 11 was not read"


@pytest.mark.parametrize("ends", [(10**60, 3.2), (1e308, 1e-300), (1e308, 1e308)])
@pytest.mark.parametrize("sign", [1, -1])
def test_losses_at_the_ends_of_what_a_float_holds_are_drawn(write, tmp_path, capsys, ends, sign):
    path = write(tmp_path / "a")
    losses = [3.2, 3.1, ends[0], ends[1], -ends[0] * (sign < 0), 3.3]
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(losses)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    print_run(path)
    assert "Loss" in capsys.readouterr().out


def test_a_command_of_many_values_is_cut_on_the_screen(write, tmp_path, capsys):
    print_run(write(tmp_path / "a", zzz=list(range(30_000))))
    print_run(write(tmp_path / "b", placement__exceptions=list(range(30_000))))
    assert len(capsys.readouterr().out) < 60_000


@pytest.mark.parametrize("place", ["a\0b", "x" * 100_000, [1], None, 3, {}])
def test_a_job_whose_folder_cannot_be_one_is_left_out_of_a_sweep(write, tmp_path, capsys, place):
    write(tmp_path / "sweep" / "a")
    jobs = [{"dir": place, "overrides": ["depth=1"]}, {"dir": "a"}]
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    assert [job.directory.name for job in read_jobs(tmp_path / "sweep")] == ["a"]
    print_status(tmp_path / "sweep")
    assert "sweep sweep: 1 finished" in capsys.readouterr().out


@pytest.mark.parametrize("value", [[[1]], {"a": 1}, None, 10**60])
def test_a_knob_of_another_type_in_the_table_of_a_sweep_is_shown(tmp_path, capsys, value):
    jobs = [{"dir": name, "overrides": ["depth=1"], "knobs": {"depth": value, name: 1}} for name in "ab"]
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    print_status(tmp_path)
    assert "2 not started" in capsys.readouterr().out


@pytest.fixture
def escapes(write, tmp_path):
    """A sweep of one run with escapes in whatever can have them."""
    path = write(
        tmp_path / "sweep" / "a", summary={"val/caveat": ESCAPES, "error": ESCAPES, "outcome": ESCAPES}
    )
    config = json.loads((path / "config.yaml").read_text())
    for group in config.values():
        for key in (
            [key for key, value in group.items() if isinstance(value, str)] if isinstance(group, dict) else ()
        ):
            group[key] = ESCAPES
    config[ESCAPES] = {ESCAPES: ESCAPES}
    config["norm"]["name"] = "layernorm"
    (path / "config.yaml").write_text(json.dumps(config))
    event = {"step": 3, "kind": ESCAPES, "metric": ESCAPES, "layers": [ESCAPES], "message": ESCAPES, "end": 4}
    (path / "events.jsonl").write_text(json.dumps(event) + "\n")
    table = {"sweep": "sweep", "command": f"normlab train '{ESCAPES}'", "jobs": [{"dir": "a"}, {"dir": "b"}]}
    table["jobs"][1] |= {"overrides": [f"{ESCAPES}={ESCAPES}"], "knobs": {ESCAPES: ESCAPES}, "error": ESCAPES}
    (path.parent / "sweep.json").write_text(json.dumps(table))
    return path


SCREENS = {
    "show": print_run,
    "runs": lambda path: print_runs([path], []),
    "runs --json": lambda path: print_runs([path], [], as_json=True),
    "compare": lambda path: print_comparison(Sources(paths=[path]), CompareOptions(), everything=True),
    "compare --json": lambda path: print_comparison(Sources(paths=[path]), CompareOptions(), "json"),
    "compare --markdown": lambda path: print_comparison(Sources(paths=[path]), CompareOptions(), "markdown"),
    "sweep status": lambda path: print_status(path.parent),
    "sweep status --json": lambda path: print_status(path.parent, as_json=True),
}


@pytest.mark.parametrize("command", SCREENS)
def test_escapes_in_the_files_of_a_run_are_shown_not_obeyed(escapes, capsys, command):
    SCREENS[command](escapes)
    told = capsys.readouterr()
    assert told.out and (told.out + told.err).replace("\n", "").isprintable()


@pytest.mark.parametrize("command", [print_explanation, print_replay])
@pytest.mark.parametrize("as_json", [False, True])
def test_escapes_in_events_are_shown_not_obeyed_where_a_run_is_explained(
    write, tmp_path, capsys, command, as_json
):
    path = write(tmp_path / "a", summary={"outcome": ESCAPES, "floors": {ESCAPES: 1.0}})
    event = {"step": 3, "kind": ESCAPES, "metric": ESCAPES, "layers": [ESCAPES], "message": ESCAPES, "end": 4}
    (path / "events.jsonl").write_text(json.dumps(event) + "\n")
    more = {} if command is print_explanation else {"write": False}
    arguments = [path] if command is print_explanation else [path, []]
    command(*arguments, as_json=as_json, **more)
    told = capsys.readouterr()
    assert told.out and (told.out + told.err).replace("\n", "").isprintable()


def test_escapes_are_not_on_the_page_of_a_report(escapes, tmp_path):
    print_report([escapes], PageTarget(path=tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(page)


def test_an_event_of_step_kind_and_metric_alone_is_on_the_page(write, tmp_path):
    path = write(tmp_path / "a")
    (path / "events.jsonl").write_text('{"step": 3, "kind": "xx", "metric": "yy/zz"}\n')
    print_report([path], PageTarget(path=tmp_path / "page.html"))
    assert "<td>xx</td>" in (page := (tmp_path / "page.html").read_text("utf-8")) and "yy/zz" in page


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf x",
        "normlab train -m; rm -rf x",
        "normlab train $(touch x)",
        "normlab train `touch x`",
        "normlab train depth=1,2 > x",
        "normlab train 'depth=1",
        "normlab train\nrm -rf x",
        "normlab train '\x1b[31m'",
        ["normlab"],
    ],
)
def test_a_command_that_a_shell_would_take_for_more_than_words_is_not_shown_as_the_way_on(tmp_path, command):
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": tmp_path.name, "command": command}))
    assert recorded_command(tmp_path) is None


def test_the_command_of_a_sweep_is_shown_as_it_was_recorded(tmp_path):
    command = "normlab train -m depth=1,2 'data.path=a b' sweep.name=x"
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": tmp_path.name, "command": command}))
    assert recorded_command(tmp_path) == command


@pytest.mark.parametrize("width", [49, 1001, 100_000_000])
def test_a_page_too_narrow_or_too_wide_is_refused(write, tmp_path, width):
    with pytest.raises(UserError, match=f"--width {width}: "):
        print_run(write(tmp_path / "a"), width)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_target_or_a_margin_that_is_not_finite_is_refused(value):
    with pytest.raises(UserError, match="--target"):
        CompareOptions(target=value)
    with pytest.raises(UserError, match="--margin"):
        CompareOptions(margin=value)


def test_a_summary_without_a_status_is_read_for_the_rest(write, tmp_path, capsys):
    path = write(tmp_path / "a")
    summary = json.loads((path / "summary.json").read_text())
    del summary["status"]
    (path / "summary.json").write_text(json.dumps(summary))
    assert read_recorded(path).summary["floors"] == summary["floors"]
    print_replay(path, (), write=False, as_json=False)
    assert "unknown" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["depth", "optimizer__lr"])
@pytest.mark.parametrize("value", [-1, 0, math.nan, math.inf, 10**30, 1e300])
def test_a_rate_or_depth_that_no_run_has_is_on_no_axis(write, tmp_path, capsys, key, value):
    write(tmp_path / "lab" / "a", **{key: 3 if key == "depth" else 1e-3})
    write(tmp_path / "lab" / "b", **{key: value})
    print_comparison(Sources(paths=[tmp_path / "lab"]), CompareOptions())
    assert "Outcomes" in capsys.readouterr().out


def test_a_config_of_more_values_than_any_run_has_is_told_in_a_line(write, tmp_path, capsys):
    path = write(tmp_path / "a", zzz={f"k{n}": n for n in range(15_000)})
    [run] = load(path)
    assert not run.config and "zzz has more than 5,000 values, which no run has" in " ".join(run.notes)
