"""The training studies of conf/experiment: what they say of themselves, all their jobs, one job of each."""

import re

import pytest
import yaml

from normlab.catalogue import groups
from normlab.compose.from_words import compose
from normlab.launch import launch
from normlab.launch.main import OK
from normlab.run import run

STUDIES = {name: path for name, path in groups.files("experiment").items() if not name.startswith("probe_")}
_SMALL = ["depth=2", "model.width=16", "model.heads=2", "model.context=8", "data=markov", "data.length=8192"]
_SHORT = ["train.steps=4", "warmup=0", "train.batch_size=2", "train.threads=1", "tracker.mode=disabled"]


def test_there_are_at_least_eight():
    assert len(STUDIES) >= 8


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_what_it_asks_how_it_is_run_what_it_costs_and_what_comes_out(name):
    package, *lines = STUDIES[name].read_text().splitlines()
    head = " ".join(line[2:] for line in lines if line.startswith("#"))
    assert package == "# @package _global_" and "?" in head.split("normlab train")[0]
    assert re.search(rf"normlab train experiment={name} .*Cost: \d+ runs, .*Expected: .*\d\.\d\d", head)


@pytest.mark.parametrize("name", STUDIES)
def test_every_job_of_a_study_composes(name, fake):
    assert launch([f"experiment={name}"]) == OK
    head = STUDIES[name].read_text()
    assert len(fake.ran) == int(re.search(r"Cost: (\d+) runs", head)[1])
    assert len({str(config) for config, *_ in fake.ran}) == len(fake.ran)


@pytest.mark.parametrize("name", STUDIES)
def test_a_shrunken_job_of_a_study_trains(name, tmp_path):
    params = yaml.safe_load(STUDIES[name].read_text())["hydra"]["sweeper"]["params"]
    first = [f"{key}={str(values).split(',')[-1]}" for key, values in params.items()]
    config = compose([f"experiment={name}", *first, *_SMALL, *_SHORT])
    assert run(config, tmp_path / "run", plain=True)["status"] == "finished"
