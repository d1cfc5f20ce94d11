import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normlab.catalogue.datasets import TextData
from normlab.data import CacheWarning, Corpus, cache, files, load_corpus
from normlab.errors import DataError


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox " * 100)
    return path


def load(path: Path, **settings: object) -> Corpus:
    return load_corpus(TextData(name="text", source="text", path=str(path), **settings), 8)


def entry(folder: Path) -> Path:
    (only,) = folder.iterdir()
    return only


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the text was read again")

    monkeypatch.setattr(files, "read", refuse)


def test_tokens_are_made_once(text: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(text)
    assert isinstance(first.train, np.memmap)
    assert sorted(path.name for path in entry(cache).iterdir()) == [
        "meta.json",
        "train.bin",
        "validation.bin",
    ]
    forbid_reading(monkeypatch)
    second = load(text)
    np.testing.assert_array_equal(first.train, second.train)
    assert (second.key, second.floors, second.documents) == (first.key, first.floors, 1)
    moved = text.rename(text.with_name("elsewhere.txt"))
    assert load(moved).key == first.key


def test_everything_is_on_the_disk_before_the_name_and_meta_is_last(
    text: Path, cache: Path, flushed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, before = Path.rename, list[int]()

    def watched(self: Path, target: Path) -> Path:
        before.extend(flushed)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    load(text)
    folder = entry(cache)
    paths = [folder / "train.bin", folder / "validation.bin", folder / "meta.json", folder, cache]
    assert flushed == [path.stat().st_ino for path in paths]
    assert before == flushed[:4]  # all but the folder in which the new name stands


def test_a_run_with_cached_tokens_starts_without_the_libraries(text: Path) -> None:
    load(text, tokenizer="char")
    script = (
        "import sys; from normlab.data import load_corpus; from normlab.catalogue.datasets import TextData\n"
        f"load_corpus(TextData(name='text', source='text', path={str(text)!r}, tokenizer='char'), 8)\n"
        "print([name for name in ('datasets', 'tokenizers', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_edit_that_keeps_size_and_time_is_seen(text: Path) -> None:
    before, times = load(text), text.stat()
    text.write_text(text.read_text().replace("quick", "brisk"))
    os.utime(text, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = load(text)
    assert text.stat().st_size == times.st_size
    assert "brisk" in after.decode(after.train)
    assert after.key != before.key


def test_settings_that_change_the_tokens_have_an_entry_each(text: Path, cache: Path) -> None:
    changes: list[dict[str, object]] = [
        {},
        {"tokenizer": "char"},
        {"val_fraction": 0.1},
        {"val_split": "tail"},
        {"max_tokens": 500},
        {"tokenizer": "bpe", "vocab_size": 300},
        {"tokenizer": "bpe", "vocab_size": 301},
        {"text_column": "other"},
    ]
    for settings in changes:
        load(text, **settings)
    assert len(list(cache.iterdir())) == len(changes)
    load(text, vocab_size=999)  # which bytes do not depend on
    assert len(list(cache.iterdir())) == len(changes)


def cut(folder: Path) -> None:
    os.truncate(folder / "train.bin", 100)


def change(folder: Path) -> None:
    content = bytearray((folder / "train.bin").read_bytes())
    content[777] ^= 1
    (folder / "train.bin").write_bytes(content)


def not_json(folder: Path) -> None:
    (folder / "meta.json").write_text('{"vocab": 2')


def other_json(folder: Path) -> None:
    (folder / "meta.json").write_text("[1, 2]")


def edited_json(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"vocab": 17}))


def no_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def no_tokens(folder: Path) -> None:
    (folder / "validation.bin").unlink()


def a_file(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("in the way")


@pytest.mark.parametrize(
    "damage", [cut, change, not_json, other_json, edited_json, no_meta, no_tokens, a_file]
)
def test_a_damaged_entry_is_made_again_with_a_warning(damage: Any, text: Path, cache: Path) -> None:
    before = load(text)
    expected = before.train.copy()
    damage(entry(cache))
    with pytest.warns(CacheWarning, match=r"the token cache .* is damaged \(.*\); making it again"):
        after = load(text)
    np.testing.assert_array_equal(after.train, expected)
    assert after.key == before.key
    assert load(text).vocab == 256  # without a warning, which would be an error


def test_a_change_anywhere_in_a_small_file_and_the_size_of_a_large_one(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = cache.BLOCKS * cache.BLOCK * 3
    with path.open("wb") as file:
        file.truncate(size)
    before, start = cache._digest(path), time.perf_counter()
    cache._digest(path)
    assert time.perf_counter() - start < 1
    os.truncate(path, size + 1)
    assert cache._digest(path) != before


def build(folder: Path) -> dict[str, Any]:
    (folder / "data.bin").write_bytes(b"content")
    return {"by": threading.current_thread().name}


def opened(folder: Path, meta: dict[str, Any]) -> tuple[str, bytes]:
    return meta["by"], (folder / "data.bin").read_bytes()


def test_two_that_build_at_the_same_time_get_the_same(cache: Path) -> None:
    from normlab.data.cache import fetch

    both = threading.Barrier(2)
    results: list[tuple[str, bytes]] = []

    def slow(folder: Path) -> dict[str, Any]:
        both.wait(10)  # neither has found the other's work
        return build(folder)

    threads = [
        threading.Thread(target=lambda: results.append(fetch({"x": 1}, slow, opened))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(results) == 2
    assert results[0] == results[1]
    assert [path.name[0] for path in cache.iterdir()] != ["."]
    assert len(list(cache.iterdir())) == 1


def test_processes_that_start_together(text: Path, cache: Path) -> None:
    script = (
        "import sys; from normlab.data import load_corpus; from normlab.catalogue.datasets import TextData\n"
        "import datasets; print('ready', flush=True); sys.stdin.readline()\n"
        f"c = load_corpus(TextData(name='text', source='text', path={str(text)!r}), 8)\n"
        "print(c.key, int(c.train.astype(int).sum()))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    results = set()
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    for run in runs:
        results.add(run.communicate(timeout=30)[0])
        assert run.returncode == 0
    corpus = load(text)
    assert results == {f"{corpus.key} {int(corpus.train.astype(int).sum())}\n"}
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_work_that_is_broken_off_leaves_nothing(error: type[BaseException], cache: Path) -> None:
    from normlab.data.cache import fetch

    def broken(folder: Path) -> dict[str, Any]:
        build(folder)
        raise error

    with pytest.raises(error):
        fetch({"x": 1}, broken, opened)
    assert list(cache.iterdir()) == []


def test_a_full_disk(cache: Path) -> None:
    from normlab.data.cache import fetch

    def full(folder: Path) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        DataError, match=rf"cannot write the token cache in {cache}: the disk is full; set NORMLAB_CACHE"
    ):
        fetch({"x": 1}, full, opened)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_that_datasets_tells_of_in_an_error_of_its_own(cache: Path, code: int) -> None:
    from normlab.data.cache import fetch

    def full(folder: Path) -> dict[str, Any]:
        raise RuntimeError("while generating the dataset") from OSError(code, os.strerror(code))

    with pytest.raises(DataError, match="the disk is full; set NORMLAB_CACHE"):
        fetch({"x": 1}, full, opened)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_an_error_of_the_disk_names_the_file_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    from normlab.data.cache import fetch

    def broken(*words: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), *([] if call == "fsync" else words))

    monkeypatch.setattr(os, call, broken)
    with pytest.raises(OSError, match="Input/output error") as raised:
        fetch({"x": 1}, build, opened)
    assert str(raised.value.filename).startswith(str(cache))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("moment", ["while it is written", "before it has its name"])
def test_a_folder_that_a_run_with_another_clock_took_for_a_left_one_is_made_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    from normlab.data import cache as made

    tries: list[Path] = []

    def taken(folder: Path) -> None:
        tries.append(folder)
        if len(tries) == 1:
            shutil.rmtree(folder)

    def slow(folder: Path) -> dict[str, Any]:
        if moment == "while it is written":
            taken(folder)
        return build(folder)

    publish = made._publish
    if moment != "while it is written":
        monkeypatch.setattr(made, "_publish", lambda folder, place: (taken(folder), publish(folder, place)))
    assert made.fetch({"x": 1}, slow, opened) == made.fetch({"x": 1}, slow, opened)
    assert len(tries) == 2 and len(list(cache.iterdir())) == 1


def test_a_full_disk_while_a_file_is_read(text: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = text.with_suffix(".csv")
    table.write_text("text\nhello\n")

    def full(*words: object) -> Iterator[str]:
        yield "hello"
        raise ValueError from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(files.READERS, ".csv", full)
    with pytest.raises(DataError) as refused:
        load(table)
    assert str(refused.value).startswith(
        f"cannot write the token cache in {cache}: the disk is full; set NORM"
    )


def test_on_the_command_line_the_warning_is_one_line(text: Path, cache: Path) -> None:
    load(text)
    cut(entry(cache))
    script = (
        "from normlab.data import load_corpus; from normlab.catalogue.datasets import TextData\n"
        f"load_corpus(TextData(name='text', source='text', path={str(text)!r}), 8)\n"
        "import warnings; warnings.warn('other')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ours, *others = done.stderr.splitlines()
    assert ours.startswith("warning: the token cache ")
    assert ours.endswith("making it again")
    assert "UserWarning: other" in others[0]


def test_a_cache_that_cannot_be_written(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load(text).train.copy()
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is needed")
    monkeypatch.setenv("NORMLAB_CACHE", str(blocked / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    with pytest.warns(CacheWarning, match=r"cannot write the token cache .*blocked.* Set NORMLAB_CACHE"):
        corpus = load(text)
    np.testing.assert_array_equal(corpus.train, expected)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("given", ["", "~nosuchuser/tokens"])
def test_where_no_home_folder_is_known_there_is_no_cache(
    given: str, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    from normlab.data.cache import fetch

    expected = load(text).train.copy()
    monkeypatch.setenv("NORMLAB_CACHE", given)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    monkeypatch.setattr(Path, "home", lambda: nowhere(Path()))
    with pytest.warns(CacheWarning, match=r"cannot write the token cache \(there is no home folder\)"):
        corpus = fetch({"x": 1}, lambda folder: {}, lambda folder, meta: expected)
    np.testing.assert_array_equal(corpus, expected)


def test_what_a_killed_run_left_goes_after_a_day(text: Path, cache: Path) -> None:
    for name, age in {".building-old": 100_000, ".building-new": 100}.items():
        (cache / name).mkdir(parents=True)
        (cache / name / "train.bin").write_bytes(b"x")
        then = time.time() - age
        os.utime(cache / name, (then, then))
    load(text)
    assert {path.name for path in cache.glob(".*")} == {".building-new"}


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from normlab.data.cache import root

    monkeypatch.setenv("NORMLAB_CACHE", "~/tokens")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert root() == tmp_path / "tokens"
    monkeypatch.delenv("NORMLAB_CACHE")
    assert root() == tmp_path / "xdg" / "normlab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert root() == tmp_path / ".cache" / "normlab"
