"""Commands that are printed can be pasted."""

import shlex

import pytest

from normlab.errors import RunDirectoryError
from normlab.rundir.writer import SUMMARY, check_free
from normlab.terminal import shell


@pytest.mark.parametrize("place", ["runs/a b", "it's", 'q"$x`', "ümläut", "a\\b", "*", "a;b&c", ""])
def test_a_path_is_one_word_of_a_shell(place):
    assert shlex.split(shell.path(place)) == [place]


def test_a_path_that_begins_with_a_dash_is_no_option():
    assert shell.path("-x y") == "'./-x y'"


def test_the_command_that_goes_on_with_a_run_can_be_pasted(tmp_path):
    directory = tmp_path / "a b"
    directory.mkdir()
    (directory / SUMMARY).touch()
    with pytest.raises(RunDirectoryError) as refused:
        check_free(directory)
    assert shlex.split(str(refused.value).rpartition("with: ")[2]) == ["normlab", "resume", str(directory)]
