import json

import pytest
from rich.console import Console

from normlab.errors import RunDirectoryError
from normlab.rundir.writer import hold
from normlab.sweep import read_jobs, write
from normlab.sweep.jobs import SweepJob
from normlab.sweep.status import eta, grid, print_status, view


def job(tmp_path, name, status, outcome=None, steps=None, seconds=None, **config):
    """A job of 300 steps."""
    summary = {"outcome": outcome, "steps": steps, "seconds": seconds}
    config = {"train": {"name": "default", "steps": 300}, **config}
    return SweepJob(
        directory=tmp_path / name, status=status, overrides=[f"name={name}"], summary=summary, config=config
    )


@pytest.fixture
def jobs(tmp_path):
    done = [
        job(
            tmp_path, f"{depth}-{seed}", "finished", outcome, 300, 30.0, depth=depth, seed=seed, warmup=warmup
        )
        for depth, seed, warmup, outcome in [
            (4, 0, 0, "stable"),
            (4, 1, 0, "stuck"),
            (4, 1, 9, "stable"),
            (8, 0, 0, "exploded"),
            (8, 2, 0, "stable"),
        ]
    ]
    return [*done, job(tmp_path, "r", "running", None, 100, 20.0, depth=8, seed=1, warmup=0)]


def lines(renderable, width=80):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(renderable)
    return console.export_text().splitlines()


def test_the_time_left_is_the_running_jobs_own_and_the_others_on_average(jobs, tmp_path):
    assert eta(jobs[:5]) is None  # nothing runs
    assert eta(jobs) == pytest.approx(40)  # 200 steps at 0.2 s
    waiting = job(tmp_path, "w", "not started", depth=12)
    mean = (5 * 30 + 60) / 6
    assert eta([*jobs, waiting]) == pytest.approx(40 + mean)
    twin = job(tmp_path, "t", "running", None, 100, 20.0)
    assert eta([*jobs, twin]) == pytest.approx(40)  # two at a time
    fresh = job(tmp_path, "f", "running")
    assert eta([fresh]) is None and eta([*jobs[:5], fresh]) == pytest.approx(30)


def test_outcomes_stand_over_the_two_knobs_with_the_most_values(jobs, tmp_path):
    shown = [
        line.split() for line in lines(grid([*jobs, job(tmp_path, "l", "lost", depth=12, seed=0, warmup=0)]))
    ]
    assert ["depth", "seed=0", "seed=1", "seed=2"] in shown
    assert ["4", "stable", "1", "stuck,", "1", "stable", "-"] in shown
    assert ["8", "exploded", "running", "stable"] in shown and ["12", "lost", "-", "-"] in shown


def test_a_grid_of_many_jobs_has_few_rows_and_says_how_many_more_there_are(tmp_path):
    many = [
        job(tmp_path, f"{n}", "finished", "stable" if n else "stuck", 300, 3.0, depth=n // 15, seed=n)
        for n in range(900)
    ]
    shown = [line.split() for line in lines(grid(many)) if line.strip()]
    assert len(shown) < 45 and shown[0] == ["seed", "outcome"] and shown[2] == ["0", "stuck"]
    assert shown[-1] == ["861", "more", "861", "stable"]


def test_the_view_says_what_runs_and_how_long(jobs, tmp_path):
    text = "\n".join(lines(view(tmp_path / "mine", jobs)))
    assert "sweep mine: 5 finished, 1 running; about 40.0 s left" in text
    assert "r  step 100/300  40.0 s left" in text


def test_the_name_of_a_running_job_is_cut_in_the_middle(jobs, tmp_path):
    name = "placement-post_" + "x" * 70 + "-f3c7407e"
    long = job(tmp_path, name, "running", None, 100, 20.0, depth=8, seed=1, warmup=0)
    [line] = [line for line in lines(view(tmp_path, [*jobs[:5], long])) if "step 100" in line]
    assert line.startswith("  placement-post_x") and "-f3c7407e  step 100/300  40.0 s left" in line


def test_a_sweep_without_knobs_has_a_grid_of_one(jobs):
    assert ["stable"] in [line.split() for line in lines(grid(jobs[:1]))]


def test_status_reads_the_folder_whoever_writes_it(tmp_path, capsys):
    run = tmp_path / "mine" / "a"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 1\ntrain: {name: default, steps: 8}\n")
    (run / "summary.json").write_text('{"status": "running", "outcome": null}')
    (run / "metrics.jsonl").write_text('{"step": 3, "time/seconds": 2.0}\n')
    write(run.parent, [*read_jobs(run.parent), job(run.parent, "later", "not started", seed=2)])
    with hold(run):
        print_status(run.parent)
        assert "1 running, 1 not started; about 6.0 s left" in capsys.readouterr().out
    print_status(run.parent, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert [each["status"] for each in content["jobs"]] == ["lost", "not started"]
    assert [each["knobs"]["seed"] for each in content["jobs"]] == [1, 2] and content["eta"] is None


def test_status_tells_why_jobs_failed_and_the_command_that_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    for name, status in (("a", "failed"), ("b", "lost")):
        (folder / name).mkdir(parents=True)
        (folder / name / "summary.json").write_text(json.dumps({"status": status, "error": f"of {name}"}))
    (folder / "a" / "train.log").touch()
    command = "normlab train -m " + "seed=1,2 " * 12 + "sweep.name=mine"
    write(folder, read_jobs(folder), command)
    print_status(folder)
    out = capsys.readouterr().out.splitlines()
    assert out[-5:-2] == ["failed: a: of a", "  the trace is in mine/a/train.log", "lost: b: of b"]
    assert out[-2].startswith("1 failed, 1 lost; ") and out[-1] == f"{command} sweep.retry=failed"
    with hold(folder / "b"):  # while a job runs, the sweep goes on by itself
        (folder / "b" / "summary.json").write_text('{"status": "running"}')
        print_status(folder)
        out = capsys.readouterr().out
        assert "of a" in out and command not in out
    print_status(folder, as_json=True)
    assert json.loads(capsys.readouterr().out)["command"] == command
    print_status(folder.rename(tmp_path / "other"))  # which the command would not find
    assert command not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "why"), [("no", "no such folder"), ("empty", "no sweep.json in it")])
def test_what_is_no_sweep(tmp_path, name, why):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunDirectoryError, match=why):
        print_status(tmp_path / name)
