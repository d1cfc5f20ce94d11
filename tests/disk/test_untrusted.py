"""YAML and JSON of unknown origin: plain values or one line, within a second, whatever is written there."""

import json
import math
import os
import time

import pytest
import yaml

from normlab.disk.untrusted import (
    DEPTH,
    DOCUMENT,
    PlainDataError,
    lines,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_yaml,
)


def bomb(first: str, fold: str) -> bytes:
    """30 levels, each twice the one before: 2^30 values, if they were made."""
    levels = [f"k{n}: &k{n} {fold.format(f'*k{n - 1}')}" for n in range(1, 30)]
    return "\n".join([f"k0: &k0 {first}", *levels]).encode()


#: What is not plain data -> what is said.
REFUSED_YAML = {
    "aliases to lists": (bomb("[x, x]", "[{0}, {0}]"), "an alias"),
    "aliases to mappings": (bomb("{x: 1}", "{{a: {0}, b: {0}}}"), "an alias"),
    "a cycle": (b"a: &a [*a]", "an alias"),
    "a cycle of mappings": (b"a: &a {b: *a}", "an alias"),
    "a merged mapping": (b"a: &a {b: 1}\nc:\n  <<: *a\n", "an alias"),
    "deep lists": (b"[" * 50_000, "nesting|inside each other"),
    "deep mappings": (b"{a: " * 50_000, "inside each other"),
    "deep blocks": (b"\n".join(b" " * n + b"a:" for n in range(1000)), "inside each other"),
    "deep dashes": (b"- " * 50_000, "inside each other"),
    "many values": (b"[" + b"1," * 50_000 + b"1]", "40,000 values"),
    "a set": (b"a: !!set {b}", "a tag"),
    "bytes": (b"a: !!binary aGVsbG8=", "a tag"),
    "an ordered mapping": (b"a: !!omap [b: 1]", "a tag"),
    "a time": (b"a: !!timestamp 2026-12-01", "a tag"),
    "a call": (b"a: !!python/object/apply:os.getcwd []", "a tag"),
    "a tag of its own": (b"a: !mine b", "a tag"),
    "a list as a key": (b"? [a]\n: 1", "a key that is not text"),
    "a key twice": (b"a: 1\nb: 2\na: 3", "in line 3, a key that was there before"),
    "400 digits": (b"a: " + b"9" * 400, "64 digits"),
    "a float of 400 digits": (b"a: 1." + b"0" * 400, "64 digits"),
    "minutes without end": (b"a: 1" + b":59" * 5000, "64 digits"),
    "no whole number": (b"a: !!int b", "no int"),
    "no truth value": (b"a: !!bool b", "no bool"),
    "no digit": (b"a: 0b_", "no int"),
    "two documents": (b"a: 1\n---\nb: 2\n", "another document"),
    "half a pair of escapes": (b'a: "\\ud800"', "not YAML"),
    "an escape as it is": (b"a: \x1b[31m", "not YAML"),
    "an end that is missing": (b"a: [", "not YAML"),
    "another encoding": ("a: 1".encode("utf-16"), "not UTF-8"),
    "no text": (b"\xff\xfe\x00", "not UTF-8"),
    "zeros": (b"\0" * 4096, "not YAML"),
}
REFUSED_JSON = {
    "deep lists": (b"[" * 100_000, "inside each other"),
    "lists deeper than any config": (b"[" * (DEPTH + 2) + b"]" * (DEPTH + 2), "inside each other"),
    "deep objects": (b'{"a":' * 100_000, "inside each other"),
    "400 digits": (b'{"a": ' + b"9" * 400 + b"}", "64 digits"),
    "-400 digits": (b'{"a": -' + b"9" * 400 + b"}", "64 digits"),
    "5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "64 digits"),
    "an end that is missing": (b'{"a": 1', "not JSON"),
    "nothing": (b"", "not JSON"),
    "no text": (b"\xff\xfe\x00", "not UTF-8"),
    "zeros": (b"\0" * 4096, "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED_YAML)
def test_yaml_that_is_no_plain_data_is_refused_in_one_line_at_once(name):
    text, said = REFUSED_YAML[name]
    check_refusal(parse_yaml, text, said)


@pytest.mark.parametrize("name", REFUSED_JSON)
def test_json_that_is_no_plain_data_is_refused_in_one_line_at_once(name):
    text, said = REFUSED_JSON[name]
    check_refusal(parse_json, text, said)


def check_refusal(parse, text, said):
    began = time.process_time()
    with pytest.raises(PlainDataError, match=said) as refused:
        parse(text)
    told = str(refused.value)
    assert told.isprintable() and len(told) < 200
    assert time.process_time() - began < 5


def test_what_a_run_writes_is_read_as_yaml_itself_reads_it():
    config = {
        "name": "post",
        "numbers": [1, -2, 0.001, 1e-05, 1e30],
        "truth": [True, False, None],
        "texts": ["1", "true", "null", "1:30", "2026-12-01", "<<", "=", "", "ä", "a: b", "#", "*a"],
        "nested": {"empty": {}, "list": []},
        "${x}": "${oc.env:HOME}",
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()
    assert parse_yaml(text) == config
    config["texts"].append("1e-5")  # which the writer of runs quotes
    assert parse_yaml(json.dumps(config).encode()) == config


def test_words_of_yaml_mean_what_they_mean_in_hydra():
    text = b"a: 1e-3\nb: .inf\nc: yes\nd: ~\ne: 2026-12-01\nf: 0x10\ng: 1_000\non: 1\n<<: {h: 2}\n"
    known = {"a": 1e-3, "b": math.inf, "c": True, "d": None, "e": "2026-12-01", "f": 16, "g": 1000}
    assert parse_yaml(text) == {**known, "on": 1, "<<": {"h": 2}}
    assert parse_yaml(b"") is None


def test_half_a_pair_of_escapes_in_json_becomes_a_character_that_can_be_printed():
    assert parse_json(b'{"a": ["\\ud800", "\\uD83D\\uDE00"]}') == {"a": ["\ufffd", "\U0001f600"]}


def test_files_are_read_up_to_a_size_and_only_if_they_are_files(tmp_path):
    large, small = tmp_path / "large", tmp_path / "small"
    with large.open("wb") as file:
        file.truncate(DOCUMENT + 1)
    small.write_text('{"a": 1}')
    assert read_json(small) == read_yaml(small) == {"a": 1}
    for path, said in ((large, "larger than 4 MiB"), (tmp_path, "not a file")):
        with pytest.raises(PlainDataError, match=said):
            read_bytes(path)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PlainDataError, match="not a file"):
        read_yaml(tmp_path / "pipe")


def test_of_a_line_that_is_too_long_only_the_beginning_is_kept(tmp_path):
    (tmp_path / "rows").write_bytes(b"ab\n" + b"c" * 10 + b"\nde\nfghi")
    with (tmp_path / "rows").open("rb") as file:
        assert list(lines(file, largest=4)) == [b"ab\n", b"cccc", b"de\n", b"fghi"]
