"""Files that are whole or not there, when a write fails half-way."""

import errno
from io import FileIO

import pytest

from normlab.disk.whole_files import append, overwrite, replace_file


class Filling(FileIO):
    """A file on a disk that takes some bytes more, then none."""

    room = 5

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(data[: self.room])
        self.room -= written
        return written


def test_a_row_that_the_disk_does_not_take_whole_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n')
    with Filling(path, "ab") as file, pytest.raises(OSError, match=r"metrics\.jsonl") as failure:
        append(file, b'{"step": 1}\n')
    assert failure.value.errno == errno.ENOSPC and path.read_bytes() == b'{"step": 0}\n'


def test_a_row_is_written_whole_though_the_system_takes_it_in_parts(tmp_path):
    class Slow(Filling):
        def write(self, data):
            self.room = 3
            return super().write(data)

    with Slow(tmp_path / "x", "wb") as file:
        append(file, b'{"step": 1}\n')
    assert (tmp_path / "x").read_bytes() == b'{"step": 1}\n'


def test_a_file_that_cannot_be_replaced_stays_and_leaves_no_part(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    replace_file(path, b"old")
    monkeypatch.setattr("normlab.disk.whole_files.write", lambda file, data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old" and [each.name for each in tmp_path.iterdir()] == ["summary.json"]


def test_a_shorter_text_that_is_written_over_a_longer_one_ends_where_it_ends(tmp_path):
    path = tmp_path / "summary.json"
    replace_file(path, b"a long text")
    overwrite(path, b"short")
    assert path.read_bytes() == b"short"
