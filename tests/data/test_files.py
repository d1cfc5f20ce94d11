import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normlab.catalogue.datasets import TextData
from normlab.data import Corpus, load_corpus
from normlab.data.files import find, read
from normlab.errors import ConfigError, DataError

TEXTS = [f'Document {n}, "quoted", with commas,\n\ttabs, two lines and an é.' for n in range(3)] + [
    "NA",
    "null",
]


def load(path: object, **settings: object) -> Corpus:
    return load_corpus(TextData(name="text", source="text", path=str(path), val_fraction=0.3, **settings), 4)


def jsonl(texts: list[str], column: str = "text") -> bytes:
    return "".join(json.dumps({"id": n, column: text}) + "\n" for n, text in enumerate(texts)).encode()


def comma_separated(texts: list[str]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([("id", "text"), *enumerate(texts)])
    return file.getvalue().encode()


def table(values: list[Any], column: str = "text", **settings: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": range(len(values)), column: values}), file, **settings)
    return file.getvalue()


def parquet(texts: list[str]) -> bytes:
    return table(texts)


def pa_table(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def with_empty_groups(*groups: list[str]) -> bytes:
    file = io.BytesIO()
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(file, schema) as writer:
        for texts in groups:
            writer.write_table(pa.table({"text": pa.array(texts, pa.string())}))
    return file.getvalue()


KINDS = {".jsonl": jsonl, ".csv": comma_separated, ".parquet": parquet}


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same texts as a folder of .txt."""
    folder = tmp_path_factory.mktemp("plain")
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_bytes(text.encode())
    return folder


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_tokens(
    kind: str, zipped: bool, tmp_path: Path, plain: Path, asked: list[str]
) -> None:
    content = KINDS[kind](TEXTS)
    path = tmp_path / (f"texts{kind}.gz" if zipped else f"texts{kind}")
    path.write_bytes(gzip.compress(content) if zipped else content)
    corpus, expected = load(path), load(plain)
    np.testing.assert_array_equal(corpus.train, expected.train)
    np.testing.assert_array_equal(corpus.validation, expected.validation)
    assert (corpus.documents, corpus.key) == (5, expected.key)
    assert asked == []


def test_text_files_one_a_document_in_the_order_of_their_names(plain: Path) -> None:
    corpus = load(plain, val_split="tail")
    tokens = bytes(corpus.train.tolist()).replace(b"\0", b"") + bytes(corpus.validation.tolist()).replace(
        b"\0", b""
    )
    assert tokens.decode() == "".join(TEXTS)


def test_zipped_text_files(tmp_path: Path, plain: Path) -> None:
    for path in plain.iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert load(tmp_path).key == load(plain).key


def test_a_folder_of_several_kinds_and_what_it_leaves_out(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    for name, content in {
        "b.txt": b"from the text file ",
        "deep/er/a.TXT": b"from below ",
        "c.jsonl": jsonl(["from the lines ", "", "again "]),
        "notes.md": b"not read",
        ".hidden.txt": b"not read",
        ".git/x.txt": b"not read",
        "empty.txt": b"",
        "empty.jsonl": b"",
        "empty.csv": b"",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    corpus = load(folder)
    text = corpus.decode([*corpus.train, *corpus.validation]).replace("\0", "")
    assert text == "from the text file from below from the lines again "


@pytest.mark.parametrize(
    "name", ["a [1].txt", "b*?.txt", "#c é.txt", ".d.txt", "__e__.txt", "{f}~!.txt", "g.jsonl.txt"]
)
def test_names_that_mean_something_elsewhere(name: str, tmp_path: Path) -> None:
    path = tmp_path / "__x__" / ".y" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"what is in it")
    assert load(path).decode(load(path).train) == "what is i\0"


def test_globs_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.txt", "two.txt", "three.jsonl"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b'{"text": "some lines of text"}\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/in/*.txt").documents == 2
    assert load(f"{tmp_path}/**/t*").documents == 2
    assert load("~/in/one.txt").documents == 1


def test_line_ends_of_windows_are_read_as_one_newline(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"one\r\ntwo\r\n" * 5)
    assert "\r" not in load(path).decode(load(path).train)


def test_another_column(tmp_path: Path) -> None:
    path = tmp_path / "body.jsonl"
    path.write_bytes(jsonl(TEXTS, "body"))
    assert load(path, text_column="body").documents == 5
    message = r"has no column 'bodi'; its columns are: id, body\. Did you mean 'body'"
    with pytest.raises(ConfigError, match=rf"^data\.text_column: .*body\.jsonl {message}"):
        load(path, text_column="bodi")


BAD = {
    "line.jsonl": (
        b'{"text": "fine"}\n{"text": broken}\n',
        r"line 2 is not JSON: Expecting value at character 10",
    ),
    "utf8.jsonl": (b'{"text": "a"}\n\n{"text": "caf\xe9"}\n', r"line 3 is not text in UTF-8"),
    "deep.jsonl": (b'{"text": "a", "x": ' + b"[" * 200_000 + b"\n", r"line 1 is nested too deeply"),
    "object.jsonl": (b'"fine"\n', r"line 1 is not a JSON object"),
    "line.jsonl.gz": (gzip.compress(b'{"text": "fine"}\n{\n'), r"line 2 is not JSON"),
    "magic.parquet": (b"PAR1 and no more", "magic bytes"),
    "empty.parquet": (b"", "size is 0"),
    "latin.txt": ("caf\xe9 ".encode("latin-1") * 30, "utf-8.*0xe9"),
    "quote.csv": (b'text,n\n"open,1\nb,2\n', "EOF inside string"),
    "fields.csv": (b"text,n\na,1\nb,2,3\n", "Expected 2 fields in line 3, saw 3"),
    "zipped.txt.gz": (b"not zipped", "[Gg]zip"),
    "zipped.parquet.gz": (b"not zipped", "[Gg]zip"),
    "cut.txt.gz": (gzip.compress(os.urandom(9000))[:5000], "ended before"),
}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a folder"])
@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_read_is_named(name: str, alone: bool, tmp_path: Path, cache: Path) -> None:
    content, message = BAD[name]
    path = tmp_path / "texts" / f"n{name}"
    path.parent.mkdir()
    path.write_bytes(content)
    if not alone:
        for kind, make in KINDS.items():
            (path.parent / f"a{kind}").write_bytes(make(TEXTS))
            (path.parent / f"z{kind}").write_bytes(make(TEXTS))
        (path.parent / "a.txt").write_text("fine")
    with pytest.raises(DataError, match=rf"^data\.path: cannot read {path} as .*{message}"):
        load(path if alone else path.parent)
    assert list(cache.iterdir()) == []


COLUMNS = {
    "other.jsonl": (jsonl(TEXTS, "body"), r"other\.jsonl has no column 'text'; its columns are: id, body"),
    "numbers.csv": (b"text\n1\n2\n", "the column 'text' of .*numbers.csv holds numbers, not text"),
    "mixed.jsonl": (b'{"text": "a"}\n{"text": 5}\n', "of .*mixed.jsonl, line 2, holds numbers, not text"),
    "lists.jsonl": (b'{"text": ["a"]}\n', "holds lists, not text"),
    "numbers.parquet": (table([1.5, 2.5]), "numbers.parquet holds double, not text"),
    "other.parquet": (table(["a"], "body"), r"other.parquet has no column 'text'; its columns are: id, body"),
    "other.csv": (b"id,body\n1,a\n", r"other.csv has no column 'text'; its columns are: id, body"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_is_no_text(name: str, tmp_path: Path) -> None:
    content, message = COLUMNS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^data\.text_column: .*{message}"):
        load(tmp_path / name)


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


#: Files -> in each the text is `one` and `two`, whatever stands beside it.
BESIDE: dict[str, dict[str, bytes]] = {
    "a column more": {
        "a.jsonl": lines({"text": "one"}),
        "b.jsonl": lines({"text": "two", "url": "x"}),
    },
    "a number and a word": {
        "a.jsonl": lines({"text": "one", "id": 1}),
        "b.jsonl": lines({"text": "two", "id": "x"}),
    },
    "nothing and an object": {
        "a.jsonl": lines({"text": "one", "meta": None}),
        "b.jsonl": lines({"text": "two", "meta": {"n": [1]}}),
    },
    "another type, later in a file": {
        "a.jsonl": lines({"text": "one", "id": 1, "tags": []}, {"text": "two", "id": "x", "tags": [{"n": 1}]})
    },
    "a text that is null at first": {"a.jsonl": lines({"text": None}, {}, {"text": "one"}, {"text": "two"})},
    "a number too long for an int": {
        "a.jsonl": b'{"text": "one", "n": ' + b"9" * 5000 + b'}\n{"text": "two"}\n'
    },
    "a column more in .csv": {"a.csv": b"text\none\n", "b.csv": b"id,text\n1,two\n"},
    "a text in .csv that begins with a number": {"a.csv": b"text,id\none,1\ntwo,x\n"},
    "a column more in .parquet": {"a.parquet": table(["one"]), "b.parquet": pa_table(text=["two"])},
    "another type in .parquet": {
        "a.parquet": pa_table(text=["one"], id=["x"]),
        "b.parquet": pa_table(text=["two"], id=[1]),
    },
    "a text of nothing in .parquet": {
        "a.parquet": pa_table(text=[None]),
        "b.parquet": pa_table(text=["one", "two"]),
    },
    "an empty first group in .parquet": {"a.parquet": with_empty_groups([], ["one"], [], ["two"])},
    "a .parquet without rows": {"a.parquet": pa_table(text=[]), "b.parquet": pa_table(text=["one", "two"])},
    "words of a dictionary in .parquet": {
        "a.parquet": pa_table(text=pa.array(["one", "two"]).dictionary_encode())
    },
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_stands_beside_the_text_does_not_matter(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, content in BESIDE[case].items():
        (folder / name).write_bytes(content)
    assert list(read(find(str(folder)), "text", tmp_path / "work").texts) == ["one", "two"]


def test_a_long_file_in_which_another_column_changes_late(tmp_path: Path) -> None:
    rows = [{"text": "x" * 9000 + str(n), "id": n} for n in range(1300)]
    (tmp_path / "long.jsonl").write_bytes(lines(*rows, {"text": "end", "id": "x"}))
    texts = list(read(find(str(tmp_path / "long.jsonl")), "text", tmp_path / "work").texts)
    assert texts == [*(row["text"] for row in rows), "end"]


MARKED = {
    ".txt": b"\xef\xbb\xbfEtext",
    ".jsonl": b'\xef\xbb\xbf{"text": "Etext"}\n',
    ".csv": b"\xef\xbb\xbftext\nEtext\n",
    ".parquet": table(["\ufeffEtext"]),
}


@pytest.mark.parametrize("ending", MARKED)
def test_a_byte_order_mark_is_not_part_of_the_text(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"marked{ending}"
    path.write_bytes(MARKED[ending])
    assert list(read(find(str(path)), "text", tmp_path / "work").texts) == ["Etext"]


def test_half_a_pair_of_surrogates_reads_as_the_mark_of_what_is_no_character(tmp_path: Path) -> None:
    path = tmp_path / "halves.jsonl"
    path.write_bytes(rb'{"text": "one \ud83d, whole \ud83d\ude00, other \ude00"}')
    (text,) = read(find(str(path)), "text", tmp_path / "work").texts
    assert text == "one \ufffd, whole \U0001f600, other \ufffd"


def test_linked_folders_are_read_and_circles_end(tmp_path: Path) -> None:
    corpus, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    corpus.mkdir()
    elsewhere.mkdir()
    (corpus / "a.txt").write_text("a")
    (elsewhere / "b.txt").write_text("b")
    (elsewhere / ".c.txt").write_text("hidden")
    (corpus / "linked").symlink_to(elsewhere)
    as_folder = find(str(corpus))
    assert as_folder == find(f"{corpus}/**/*")
    (corpus / "up").symlink_to(corpus)
    assert as_folder == find(f"{corpus}/**/*")
    (elsewhere / "round").symlink_to(corpus)
    assert as_folder == find(str(corpus))
    assert [file.path.relative_to(corpus).as_posix() for file in as_folder] == ["a.txt", "linked/b.txt"]
    # One that is given itself is what the user means.
    assert [file.path.name for file in find(str(corpus / "up" / "*"))] == ["a.txt"]


def test_a_home_folder_that_is_not_known() -> None:
    with pytest.raises(ConfigError, match=r"^data\.path: ~nosuchuser/x\.txt: it is not known here where"):
        find("~nosuchuser/x.txt")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.txt", r"nowhere\.txt does not exist"),
        ("nothing*.txt", r"nothing matches .*nothing\*\.txt"),
        ("read.me", r"read\.me: can only read files that end in \.txt, \.jsonl, \.parquet, \.csv"),
        ("*.me", r"\*\.me: can only read files that end in"),
        ("folder", r"the folder .*folder holds no file that ends in"),
        ("pipe", r"pipe is a device, a pipe or a socket"),
    ],
)
def test_a_path_with_nothing_to_read(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "read.me").write_text("text")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=rf"^data\.path: .*{message}"):
        load(tmp_path / name)


def test_no_path_at_all() -> None:
    with pytest.raises(ConfigError, match=r"^data\.path: data=text needs a file, a folder or a glob"):
        load_corpus(TextData(name="text", source="text"), 4)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.txt.gz"])
def test_an_empty_text(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    with pytest.raises(DataError, match=rf"{path} is empty: there is no text in it"):
        load(path)


def test_a_text_that_is_too_short_says_what_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("x" * 100)
    config = TextData(name="text", source="text", path=str(path), val_fraction=0.1)
    assert len(load_corpus(config, 10).validation) == 11
    with pytest.raises(
        DataError, match=r"short\.txt is too short: model\.context=11 needs 12 tokens .* has 91 and 11\."
    ):
        load_corpus(config, 11)
