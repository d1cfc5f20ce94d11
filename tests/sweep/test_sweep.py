import copy
import json
import re

import pytest
import yaml
from rich.console import Console

from normlab import sweep
from normlab.catalogue import groups
from normlab.sweep import Planned
from normlab.sweep.table import duration


def write_job(directory, summary, overrides=(), rows=(), **changes):
    (directory / ".hydra").mkdir(parents=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(copy.deepcopy(groups.defaults()) | changes))
    (directory / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    if summary is not None:
        (directory / "summary.json").write_text(json.dumps(summary))
    if rows:
        (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def finished(outcome, loss, event=None, seconds=27.44):
    return {
        "status": "finished",
        "outcome": outcome,
        "steps": 300,
        "loss/final": loss,
        "loss/best": 2.251,
        "val/final": 2.375,
        "first_event": event,
        "seconds": seconds,
    }


@pytest.fixture
def folder(tmp_path):
    """A sweep over placement and warm-up of which one job was killed, one failed and one not begun."""
    root = tmp_path / "mine"
    post = groups.values("placement")["post"]
    event = {"step": 171, "kind": "plateau", "metric": "loss"}
    write_job(root / "a", finished("stuck", 3.149, event), ["placement=post", "warmup=0"], placement=post)
    write_job(root / "b", finished("nonfinite", "NaN", seconds=700), ["warmup=10"], warmup=10)
    rows = [{"step": 0, "time/seconds": 0.5}, {"step": 1, "time/seconds": 1.5}]
    write_job(root / "c", {"status": "running"}, ["warmup=20"], rows, warmup=20)
    write_job(root / "d", {"status": "failed", "error": "OSError: disk full"}, ["warmup=30"], warmup=30)
    return root


def planned(folder):
    return [Planned(directory=folder / name, overrides=(f"warmup={n}",)) for n, name in enumerate("edcba")]


def test_jobs_are_read_from_their_folders_whoever_ran_them(folder):
    jobs = sweep.read_jobs(folder)
    assert [(job.directory.name, job.status) for job in jobs] == [
        ("a", "finished"),
        ("b", "finished"),
        ("c", "lost"),
        ("d", "failed"),
    ]
    assert jobs[0].overrides == ["placement=post", "warmup=0"]
    assert jobs[2].summary["steps"] == 2 and jobs[2].summary["seconds"] == 1.5
    assert jobs[3].error == "OSError: disk full"


def test_planned_jobs_come_first_and_may_not_have_begun(folder):
    jobs = sweep.read_jobs(folder, planned(folder))
    assert [job.directory.name for job in jobs] == list("edcba")
    assert [job.status for job in jobs] == ["not started", "failed", "lost", "finished", "finished"]


def test_an_error_that_left_no_summary_makes_a_job_failed(folder):
    jobs = sweep.read_jobs(folder, planned(folder)[:1], {folder / "e": "ValueError: no"})
    assert (jobs[0].status, jobs[0].error) == ("failed", "ValueError: no")


def test_only_the_planned_jobs_count_as_failures(folder, capsys):
    assert sweep.finish(folder, planned(folder), {}) == 3  # e was not started
    assert sweep.finish(folder, planned(folder)[4:], {}) == 0
    assert sweep.finish(folder, [], {}) == 3  # e is on record now
    write_job(folder / "f", {"status": "interrupted"})
    assert sweep.finish(folder, [], {}) == 4
    capsys.readouterr()


def test_a_sweep_whose_folder_could_not_be_made(tmp_path, capsys):
    assert sweep.finish(tmp_path / "no", [Planned(directory=tmp_path / "no" / "a", overrides=())], {}) == 1
    assert capsys.readouterr().out == ""


def test_sweep_json_is_strict_and_whole(folder):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    path = sweep.write(folder, sweep.read_jobs(folder))
    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content["sweep"] == "mine" and content["knobs"] == ["placement", "warmup"]
    job = content["jobs"][1]
    assert (job["dir"], job["outcome"], job["loss/final"]) == ("b", "nonfinite", "NaN")
    assert job["knobs"] == {"placement": "pre", "warmup": 10}
    assert content["jobs"][0]["first_event"]["step"] == 171
    assert [each["status"] for each in content["jobs"]] == ["finished", "finished", "lost", "failed"]
    assert not list(folder.glob("*.part"))


def test_a_job_that_did_not_end_has_no_outcome(folder):
    write_job(folder / "f", finished("stable", 2.5) | {"status": "interrupted"})
    sweep.write(folder, sweep.read_jobs(folder))
    outcomes = {job["dir"]: job["outcome"] for job in json.loads((folder / sweep.FILE).read_text())["jobs"]}
    assert outcomes == {"a": "stuck", "b": "nonfinite", "c": None, "d": None, "f": None}


AGAIN = "normlab train -m " + "placement=post,pre " * 5 + "sweep.name=mine"


def test_the_command_that_goes_on_has_a_line_of_its_own_and_names_no_folder(folder, capsys):
    (folder / "c" / "metrics.jsonl").unlink()
    write_job(folder / "f", {"status": "interrupted"})
    jobs = [Planned(directory=folder / name, overrides=(f"seed={name}",)) for name in ("c", "f", "x", "y")]
    sweep.finish(folder, jobs, {}, AGAIN)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["1 interrupted, 1 lost, 2 not started; the same command goes on:", AGAIN]
    sweep.finish(folder, planned(folder)[4:], {}, AGAIN)  # of this command's jobs none is left
    assert AGAIN not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("d", "1 failed; sweep.retry=failed tries again what failed:"),
        (
            "dce",
            "1 failed, 1 lost, 1 not started; sweep.retry=failed tries again what failed, and goes on with ",
        ),
    ],
)
def test_a_failure_comes_with_its_trace_and_the_command_that_tries_again(
    folder, capsys, monkeypatch, names, told
):
    monkeypatch.chdir(folder.parent)
    (folder / "d" / "train.log").touch()
    jobs = [job for job in planned(folder) if job.directory.name in names]
    sweep.finish(folder, jobs, {}, AGAIN)
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("failed: d: OSError: disk full")
    assert lines[place + 1] == "  the trace is in mine/d/train.log"
    assert lines[-2].startswith(told) and lines[-1] == f"{AGAIN} sweep.retry=failed"
    (folder / "d" / "train.log").unlink()
    sweep.finish(folder, jobs, {}, AGAIN)
    assert "train.log" not in capsys.readouterr().out


def test_of_many_failures_some_are_told_and_the_others_counted(folder, capsys):
    for n in range(7):
        write_job(folder / f"x{n}", {"status": "failed", "error": "OSError: disk full"})
    sweep.finish(folder, [], {}, AGAIN)
    out = capsys.readouterr().out
    assert out.count("OSError") == 4 and "and 4 more, in sweep.json\n" in out  # c was lost


def test_sweep_json_keeps_the_command_where_none_is_given(folder):
    def told():
        return json.loads((folder / sweep.FILE).read_text())["command"]

    sweep.write(folder, sweep.read_jobs(folder))
    assert told() is None
    sweep.write(folder, sweep.read_jobs(folder), AGAIN)
    sweep.write(folder, sweep.read_jobs(folder))
    assert told() == AGAIN
    sweep.write(folder, sweep.read_jobs(folder), "another")
    assert told() == "another"
    (folder / sweep.FILE).write_text("[]")
    sweep.write(folder, sweep.read_jobs(folder))
    assert told() is None


def render(jobs, width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(sweep.table(jobs, width))
    return console.export_text()


def test_the_table_has_a_row_a_job(folder):
    write_job(folder / "f", finished("exploded", 37971624.8), warmup=40)
    jobs = sweep.read_jobs(folder, planned(folder))
    text = render(jobs, 120)
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert rows[1] == ["placement", "warmup", "outcome", "val", "loss", "first event", "time"]
    assert ["post", "0", "stuck", "2.375", "3.149", "plateau @ 171", "27.4 s"] in rows
    assert ["pre", "10", "nonfinite", "2.375", "NaN", "-", "11 m 40 s"] in rows
    assert ["pre", "20", "lost", "-", "-", "-", "1.5 s"] in rows
    assert ["-", "0", "not started", "-", "-", "-", "-"] in rows
    assert ["pre", "40", "exploded", "2.375", "3.7972e+07", "-", "27.4 s"] in rows
    assert render(jobs, 80) == text


def test_the_table_says_what_it_has_no_room_for(folder):
    text = render(sweep.read_jobs(folder, planned(folder)), 66)
    assert "no room for: time" in text and " val " in text.splitlines()[1]
    assert "no room" not in render(sweep.read_jobs(folder), 80)


@pytest.mark.parametrize(
    ("width", "header"), [(120, "seed outcome loss first event time"), (28, "seed outcome loss")]
)
def test_a_sweep_without_validation_shows_the_training_loss(tmp_path, width, header):
    for n in range(2):
        write_job(tmp_path / f"x{n}", finished("stable", 2.5) | {"val/final": None}, seed=n)
    assert " ".join(render(sweep.read_jobs(tmp_path), width).splitlines()[1].split()) == header


@pytest.mark.parametrize("knobs", range(1, 8))
def test_the_table_fits_80_columns_however_many_knobs(tmp_path, knobs):
    optimizer = groups.values("optimizer")["adamw"]
    for n in range(3):
        changes = {
            "activation": groups.values("activation")["gelu_tanh" if n else "leaky_relu"],
            "placement": groups.values("placement")["sandwich" if n else "res_post"],
            "depth": 10 + n,
            "warmup": 100 * n,
            "seed": n,
            "optimizer": optimizer | {"lr": 1e-3 * (n + 1)},
            "data": groups.values("data")["stdlib"] | {"max_tokens": 10**6 + n},
        }
        event = {"step": 1171, "kind": "nonfinite"}
        write_job(
            tmp_path / f"x{n}", finished("nonfinite", 2.5, event), **dict(list(changes.items())[:knobs])
        )
    text = render(sweep.read_jobs(tmp_path), 80)
    assert max(map(len, text.splitlines())) <= 80
    lines = [line for line in text.splitlines() if "nonfinite" in line]
    assert len(lines) == 3 and "2.375" in lines[0]
    assert knobs == 7 or "leaky_relu" in lines[0]
    assert knobs > 4 or "nonfinite @ 1171" in lines[0]
    assert knobs > 2 or "27.4 s" in lines[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (99.94, "99.9 s"),
        (125, "2 m 05 s"),
        (90000, "25 h 00 m"),
        (None, "-"),
    ],
)
def test_times_are_short(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def many(tmp_path):
    """Two placements, nine seeds; of the first two runs are stuck, and one failed."""
    root = tmp_path / "many runs"
    post = groups.values("placement")["post"]
    for seed in range(9):
        summary = finished("stuck" if seed < 2 else "stable", 2.4) | {"val/final": 2.3 + 0.1 * (seed % 2)}
        summary = {"status": "failed", "error": "OSError: x"} if seed == 8 else summary
        write_job(root / f"post-s{seed}", summary, placement=post, seed=seed)
        write_job(root / f"pre-s{seed}", finished("stable", 2.4), seed=seed)
    return root


def test_of_many_jobs_the_seeds_are_put_together(many, capsys):
    assert sweep.finish(many, (), {}) == 1
    lines = capsys.readouterr().out.splitlines()
    [post] = [line for line in lines if line.startswith(" post")]
    # Of seeds 2 to 7, three losses of 2.3 and of 2.4: 2.571 standard errors of 0.0224.
    assert " ".join(post.split()) == "post 9 1 failed, 2 stuck, 6 stable 2.350 ± 0.057 (n=6)"
    [pre] = [line for line in lines if line.startswith(" pre")]
    assert " ".join(pre.split()) == "pre 9 9 stable 2.375 ± 0.000"
    assert not any("first event" in line for line in lines)


def test_a_sweep_ends_with_what_compares_its_runs(many, folder, capsys):
    sweep.finish(many, (), {})
    out = capsys.readouterr().out
    assert out.endswith(f"one page: normlab report '{many}' -o report.html\n")
    assert f"\ncompare: normlab compare '{many}'\nfigures: normlab plot '{many}'\n" in out
    sweep.finish(folder, (), {})
    assert "normlab compare" in capsys.readouterr().out  # two of four have finished
    write_job(folder.parent / "one" / "a", finished("stable", 2.3))
    sweep.finish(folder.parent / "one", (), {})
    assert "normlab compare" not in capsys.readouterr().out
