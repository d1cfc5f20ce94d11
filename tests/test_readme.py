"""Every command of the README and of the pages beside it is run, on a model that trains in milliseconds."""

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

ROOT = groups.conf_dir().parent
#: In the order in which the commands are run: those of later pages use what those of the first have made.
PAGES = ("README.md", "conf/README.md", "outputs/README.md", "scripts/README.md", "tests/README.md")
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]
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
    "warmup=0,30,100": ["warmup=0,1"],
    "depth=4,8,12,16": ["depth=1,2"],
    "depth=4,8,16,32": ["depth=1,2,3"],
    "depth=4,8,16": ["depth=1,2,3"],
    "depth=4,8": ["depth=1,2"],
    "depth=24": ["depth=3"],
    "norm=layernorm,batchnorm": ["norm=batchnorm"],
    "experiment=warmup_rescues_post": ["experiment=warmup_rescues_post", "warmup=0,2"],
    "0,10,100,299": ["0,1,2,3"],
    "critical-lr": ["critical-lr", "critical.factor=30"],
    "seed=0,1,2": ["seed=0"],
    "placement=post,pre,deepnorm": ["placement=post"],
}
#: Shown with what to install, and run where that is.
EXTRA = {"hydra/sweeper=optuna_tpe": "optuna"}
#: They talk to a server, and say so where there is no key to it.
SERVED = (["sync"], ["workspace", "create"])
#: The modules of what is run in a process of its own.
PROGRAMS = {"normlab": "normlab", "torchrun": "torch.distributed.run"}
#: `.ci/run` runs them.
ELSEWHERE = ("pip install", "pytest", "bash")


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", "\n".join(TEXTS.values()), re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words for words in lines if words and not " ".join(words).startswith(ELSEWHERE)]


def shrunk(words):
    """The words of a command without `normlab`, made small."""
    words = [new for word in words for new in SHORTER.get(word, [word])]
    if not any(words[: len(start)] == start for start in TRAINS):
        return words
    keys = [word.partition("=")[0] for word in words]
    depth = () if "depth" in keys else ("depth=2",)
    text = () if any(key.startswith("data") for key in keys) else TEXT
    return [*words, *SHRINK, *depth, *text]


def test_the_readme_has_its_commands():
    shown = {tuple(words[:2]) for words in commands()}
    for name in ("train", "describe", "probe", "plot", "show", "explain", "replay", "compare", "report"):
        assert ("normlab", name) in shown


def anchors(page):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", TEXTS[page])
    for link in links:
        path, _, anchor = link.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(str(there.resolve().relative_to(ROOT))), f"{page}: {link}"


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 260, "move what not every reader needs to the pages beside it"


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
            shorter = [new for word in rest for new in SHORTER.get(word, [word])]
            command = [sys.executable, "-m", PROGRAMS[program], *shorter, *SHRINK, *TEXT]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr}"
        else:
            pytest.fail(f"no test runs {' '.join(words)}")
