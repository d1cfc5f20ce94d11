"""What a large sweep says while its jobs are composed and checked."""

import io
import sys

import pytest

from normlab.launch import jobs


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_a_line_for_each_sign_of_life(monkeypatch, capsys):
    monkeypatch.setattr(jobs, "PLAIN", 0.0)
    assert list(jobs._telling("checking", "ab")) == ["a", "b"]
    assert capsys.readouterr().err == "checking job 1 of 2\nchecking job 2 of 2\n"


def test_on_a_terminal_one_line_replaces_the_other_and_goes(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    monkeypatch.setattr(jobs, "LIVE", 0.0)
    list(jobs._telling("checking", "ab"))
    assert screen.getvalue() == f"checking job 1 of 2\rchecking job 2 of 2\r{' ' * 19}\r"


@pytest.mark.parametrize("broken", [None, Screen()])
def test_what_is_quick_says_nothing_and_a_screen_that_is_gone_ends_nothing(broken, monkeypatch):
    monkeypatch.setattr(sys, "stderr", broken)
    assert list(jobs._telling("checking", "ab")) == ["a", "b"]
    if broken is not None:
        assert broken.getvalue() == ""
        monkeypatch.setattr(jobs, "LIVE", 0.0)
        monkeypatch.setattr(broken, "write", lambda text: (_ for _ in ()).throw(BrokenPipeError))
        assert list(jobs._telling("checking", "ab")) == ["a", "b"]
