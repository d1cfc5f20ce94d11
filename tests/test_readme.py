"""Every command that the README shows is run, on a model and a text that train in milliseconds."""

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from normlab.catalogue import groups
from normlab.cli.app import app

README = (groups.conf_dir().parent / "README.md").read_text(encoding="utf-8")
SHRINK = (
    *("model.width=16", "model.heads=2", "model.context=16", "train.steps=4", "train.batch_size=4"),
    *("train.eval_every=2", "train.eval_batches=2", "train.threads=1", "tracker.mode=disabled"),
)
TEXT = ("data=markov", "data.length=16384")
#: What takes the words of a run, and so can be shrunk.
TRAINS = (["train"], ["sweep", "plan"], ["sweep", "critical-lr"])
#: What is too long for a few steps, and what is typed instead.
SHORTER = {
    "seeds=10": ["seeds=1"],
    "warmup=0,30,100": ["warmup=0,1,2"],
    "experiment=warmup_rescues_post": ["experiment=warmup_rescues_post", "warmup=0,2"],
    "0,10,100,299": ["0,1,2,3"],
    "critical-lr": ["critical-lr", "critical.factor=30"],
    "seed=0,1": ["seed=0"],
}
#: Shown with what to install, and run where that is.
EXTRA = {"hydra/sweeper=optuna_tpe": "optuna"}
#: They talk to a server, and say so where there is no key to it.
SERVED = (["sync"], ["workspace", "create"])
#: The modules of what is run in a process of its own.
PROGRAMS = {"normlab": "normlab", "torchrun": "torch.distributed.run"}
#: `.ci/run` runs them.
ELSEWHERE = ("pip install",)


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words for words in lines if words and not " ".join(words).startswith(ELSEWHERE)]


def shrunk(words):
    """The words of a command without `normlab`, made small."""
    words = [new for word in words for new in SHORTER.get(word, [word])]
    if not any(words[: len(start)] == start for start in TRAINS):
        return words
    text = () if any(word.startswith("data") for word in words) else TEXT
    return [*words, *SHRINK, *text]


def test_the_readme_has_its_commands():
    shown = {tuple(words[:2]) for words in commands()}
    for name in ("train", "describe", "probe", "plot", "show", "explain", "replay", "compare", "report"):
        assert ("normlab", name) in shown


def test_every_command_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 2000)
    own = re.findall(r"`(mine/placement/\w+\.yaml)`[^`]*```yaml\n(.*?)```", README, re.DOTALL)
    for name, text in own:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    for words in commands():
        program, *rest = words
        if program == "normlab" and not any(word.startswith("train.processes=") for word in rest):
            run_directory = next(iter(sorted(Path("outputs/runs").glob("*"))), Path())
            rest = [str(run_directory) if word == "RUN" else word for word in rest]
            done = CliRunner().invoke(app, shrunk(rest), prog_name="normlab")
            told = f"{' '.join(words)}\n{done.output}\n{done.exception!r}"
            if "--to-wandb" in rest or any(rest[: len(start)] == start for start in SERVED):
                assert done.exit_code == 2 and "no API key" in done.output, told
            elif missing := [extra for word, extra in EXTRA.items() if word in rest and not find_spec(extra)]:
                assert done.exit_code == 2 and f"normlab[{missing[0]}]" in done.output, told
            else:
                assert done.exit_code == 0, told
        elif program in PROGRAMS:  # a process of its own: what several leave behind stays there
            command = [sys.executable, "-m", PROGRAMS[program], *rest, *SHRINK, *TEXT]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr}"
        else:
            pytest.fail(f"no test runs {' '.join(words)}")
