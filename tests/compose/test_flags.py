import pytest

from normlab.compose.flags import UsageError, split


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        ([], []),
        (["seed=1"], ["--", "seed=1"]),
        (["seed=1", "-m", "norm=a,b"], ["--multirun", "--", "seed=1", "norm=a,b"]),
        (
            ["a=1", "-c", "job", "b=2", "-p", "norm"],
            ["--cfg", "job", "--package", "norm", "--", "a=1", "b=2"],
        ),
        (["--cfg=job", "-cd=here"], ["--cfg", "job", "--config-dir", "here"]),
        (["-i", "searchpath", "a=1"], ["--info", "searchpath", "--", "a=1"]),
        (["-i", "a=1"], ["--info", "--", "a=1"]),
        (["--", "seed=-1", "~hydra.x", "+x=1"], ["--", "seed=-1", "~hydra.x", "+x=1"]),
        (["--hydra-help"], ["--hydra-help"]),
    ],
)
def test_overrides_end_in_one_block(words, argv):
    assert split(words).argv() == argv


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mutlirun"], "no option --mutlirun. Did you mean '--multirun'"),
        (["-x"], "no option -x"),
        (["--experimental-rerun", "x.pkl"], "no option --experimental-rerun"),
        (["--multirun=yes"], "no option --multirun"),
        (["--cfg"], "--cfg needs a value: job, hydra, all"),
        (["--cfg", "jobs"], "--cfg needs a value"),
        (["placement"], "'placement' is not KEY=VALUE"),
        (["-m", "--cfg", "job", "placement=post,pre"], "--multirun and --cfg do not go together"),
        (["--resolve"], "--resolve goes with --cfg job"),
        (["-cd", "a", "-cd", "b"], "--config-dir can be given once"),
    ],
)
def test_what_is_no_command_line_is_refused(words, message):
    with pytest.raises(UsageError) as error:
        split(words)
    assert message in str(error.value)


def test_a_flag_gives_its_last_value():
    words = split(["-p", "a", "--package", "b"])
    assert words.value("--package") == "b"
    assert words.value("--cfg") is None
