"""Zipped and listed sweeps, with a stand-in for the training."""

import re
from pathlib import Path

import pytest

from normlab.catalogue import groups
from normlab.launch import launch
from normlab.launch.main import OK, REFUSED


def jobs(fake):
    return [(c.placement.name, c.depth, c.optimizer.lr, c.seed) for c, *_ in fake.ran]


def test_zipped_lists_go_together_and_are_crossed_with_the_rest(fake, capsys):
    words = ["sweep.zip=[depth,optimizer.lr,placement]", "depth=4,8", "optimizer.lr=1e-3,5e-4"]
    assert launch(["-m", *words, "placement=post,deepnorm", "seed=range(2)"]) == OK
    assert jobs(fake) == [
        (placement, depth, rate, seed)
        for placement, depth, rate in [("post", 4, 1e-3), ("deepnorm", 8, 5e-4)]
        for seed in (0, 1)
    ]
    out = capsys.readouterr().out
    assert "4 finished" in out and "row" not in out


def test_rows_can_be_listed_in_a_file(fake):
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/listed.yaml").write_text(
        """# @package _global_
sweep:
  rows:
    - {placement: post, warmup: 100}
    - {placement: pre, optimizer.lr: 3e-3, norm.eps: 1e-6}
hydra: {mode: MULTIRUN}
"""
    )
    assert launch(["-cd", "mine", "experiment=listed", "depth=3"]) == OK
    (first, *_), (second, *_) = fake.ran
    assert (first.placement.name, first.warmup, first.depth) == ("post", 100, 3)
    assert (second.optimizer.lr, second.norm.eps, second.warmup) == (3e-3, 1e-6, 0)


def test_rows_can_be_typed_and_a_zip_may_be_in_a_file(fake):
    assert launch(["-m", "sweep.rows=[{depth: 2},{seed: 5}]"]) == OK
    assert [job[1::2] for job in jobs(fake)] == [(2, 0), (12, 5)]
    Path("mine/experiment").mkdir(parents=True)
    text = "# @package _global_\nsweep: {zip: [depth, seed]}\nhydra:\n  mode: MULTIRUN\n"
    text += "  sweeper: {params: {depth: '2,3', seed: range(2)}}\n"
    Path("mine/experiment/zipped.yaml").write_text(text)
    assert launch(["-cd", "mine", "experiment=zipped", "seed=7,8"]) == OK
    assert [job[1::2] for job in jobs(fake)][2:] == [(2, 7), (3, 8)]


def test_the_study_on_the_page_on_configs_runs(fake):
    text = (groups.conf_dir() / "README.md").read_text()
    [(file, study)] = re.findall(r"`(mine/experiment/\w+\.yaml)`[^`]*```yaml\n(.*?)```", text, re.DOTALL)
    Path(file).parent.mkdir(parents=True)
    Path(file).write_text(study)
    own = text.split("## Your own study")[1].split("\n## ")[0]
    command = re.findall(r"`normlab (train --config-dir mine .*?)`", own)[0]
    assert launch(command.split()[1:]) == OK
    assert [(c.placement.name, c.warmup, c.optimizer.lr, c.seed) for c, *_ in fake.ran] == [
        (*row, seed)
        for seed in (0, 1)
        for row in [("post", 100, 2.5e-3), ("post", 0, 1e-3), ("pre", 0, 2.5e-3)]
    ]


def test_a_setting_beside_a_row_that_has_its_group_is_no_conflict(fake):
    assert launch(["-m", "sweep.rows=[{norm: rmsnorm},{norm: layernorm}]", "norm.eps=1e-6"]) == OK
    assert [(c.norm.name, c.norm.eps) for c, *_ in fake.ran] == [("rmsnorm", 1e-6), ("layernorm", 1e-6)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["-m", "sweep.zip=[depth,seed]", "depth=2,3", "seed=1,2,3"],
            "sweep.zip: needs lists of equal length, but depth has 2, seed has 3 values",
        ),
        (["-m", "sweep.zip=[depth,seed]", "depth=2,3"], "sweep.zip: seed has no values; give it a list"),
        (["-m", "sweep.zip=[depth]", "depth=2"], "sweep.zip: depth has one value, depth=2"),
        (
            ["sweep.zip=[depth]", "depth=2"],
            "sweep.zip: goes with -m, which makes a sweep; in a file of yours, hydra: {mode: MULTIRUN} does",
        ),
        (
            ["-m", "sweep.zip=[seed]", "seed=range(0)"],
            "sweep.zip: there is no job to run: there are no values of seed",
        ),
        (["-m", "sweep.rows=[]"], "sweep.rows: there is no job to run: the list is empty"),
        (
            ["-m", "sweep.rows=[{dept: 2},{depth: 3}]"],
            "dept: there is no such setting. Did you mean 'depth'?",
        ),
        (["-m", "sweep.rows=[{placement: prez},{depth: 3}]"], "Did you mean 'pre'"),
        (["-m", "sweep.rows=[{depth: x},{depth: 3}]"], "depth: must be a whole number"),
        (["-m", "sweep.rows=[{depth: 2},{depth: 2}]"], "the same job twice: depth=2"),
        (
            ["-m", "sweep.rows=3"],
            "sweep.rows: must be a list of rows such as '[{depth: 4, optimizer.lr: 1e-3},",
        ),
        (
            ["-m", "sweep.rows=[{depth: 2},{dept: 3}]"],
            "error: sweep.rows: row 2: dept: there is no such setting. Did you mean 'depth'?",
        ),
        (["-m", "sweep.rows=[{model: {width: 8}}]"], "sweep.rows: row 1: model: an option is a name, not"),
        (["-m", "sweep.rows=[{depth: 2},{sweep.retry: failed}]"], "row 2: sweep.retry: is for the whole"),
        (
            ["-m", "sweep.rows=[{depth: 3, seed: 1},{seed: 2}]", "depth=2"],
            "error: sweep.rows: sets depth, and so does depth=2; leave one of them out\n",
        ),
        (["-m", "sweep.rows=[{seed: 1},{seed: 2}]", "seed=1,2"], "sets seed, and so does seed=1,2"),
        (["-m", "sweep.rows=[{norm: rmsnorm},{depth: 2}]", "norm=dyt"], "sets norm, and so does norm=dyt"),
        (
            ["experiment=depth_of_post", "sweep.rows=[{depth: 1}]"],
            "sets depth, and so does depth=2,4,8,12",
        ),
        (["-m", "sweep.rows=[{depth: 2}]", "sweep.zip=[seed]", "seed=1,2"], "goes without sweep.rows"),
    ],
)
def test_what_cannot_be_paired(fake, capsys, words, message):
    assert launch(words) == REFUSED
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert fake.ran == [] and not Path("outputs").exists()
