"""The hub as it answers, played by a small server, and as it does not."""

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from normlab.catalogue.datasets import HubData
from normlab.data import hub
from normlab.data.documents import clean
from normlab.data.files import TEXT_COLUMN
from normlab.errors import ConfigError

CONF = Path(__file__).parents[2] / "conf" / "data"
READY = sorted(path.stem for path in CONF.glob("*.yaml"))
#: Where no hub is.
NOBODY = "http://127.0.0.1:9"
LINES = ["", " = Title = \n", *(f" line {n} of the article \n" for n in range(200))]
PAGES = [f"page {n} " * 40 for n in range(100)]


def parquet(*groups: list[str], **beside: pa.DataType) -> bytes:
    """A parquet file with a group for each list of texts, and columns beside them that hold nothing."""
    file = io.BytesIO()
    with pq.ParquetWriter(file, pa.schema({"text": pa.string(), **beside})) as writer:
        for texts in groups:
            columns = {name: pa.array([None] * len(texts), kind) for name, kind in beside.items()}
            writer.write_table(pa.table({"text": pa.array(texts, pa.string()), **columns}))
    return file.getvalue()


#: Repository -> branch -> file -> the texts of a parquet file, or the bytes of another.
REPOSITORIES: dict[str, dict[str, dict[str, Any]]] = {
    "karpathy/tiny_shakespeare": {
        "main": {"tiny_shakespeare.py": b"raise SystemExit('run!')", "README.md": b"# A play\n"},
        "refs/convert/parquet": {"default/train/0000.parquet": ["To be or not to be.\n" * 99]},
    },
    "Salesforce/wikitext": {
        "main": {
            "wikitext-2-raw-v1/train-00000-of-00001.parquet": LINES,
            "wikitext-103-raw-v1/train-00000-of-00001.parquet": LINES,
            "README.md": b"---\nconfigs:\n"
            + b"".join(
                b"- config_name: %b\n  data_files:\n  - split: train\n    path: %b/train-*\n" % (name, name)
                for name in (b"wikitext-2-raw-v1", b"wikitext-103-raw-v1")
            )
            + b"---\n",
        }
    },
    "HuggingFaceFW/fineweb-edu": {
        "main": {
            "sample/10BT/000.parquet": PAGES,
            "README.md": b"---\nconfigs:\n- config_name: sample-10BT\n  data_files:\n  - split: train\n"
            b"    path: sample/10BT/*\n---\n",
        }
    },
    "some/shards": {
        "main": {
            "data/train-00000-of-00002.parquet": parquet([], ["what is in the first"], id=pa.int64()),
            "data/train-00001-of-00002.parquet": parquet(["\ufeffwhat is in the other"], url=pa.string()),
            "README.md": b"# Shards\n",
        }
    },
    "roneneldan/TinyStories": {
        "main": {"data/train-00000-of-00001.parquet": PAGES, "README.md": b"# Stories\n"}
    },
}


def commit(branch: str) -> str:
    return hashlib.sha1(branch.encode()).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as reading a dataset takes."""

    protocol_version = "HTTP/1.1"
    files: dict[str, dict[str, dict[str, bytes]]]

    def log_message(self, *args: object) -> None:
        pass

    def reply(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        _, *parts = map(unquote, path.split("/"))
        if parts[:2] == ["api", "datasets"]:
            name, kind, branch, rest = "/".join(parts[2:4]), *([*parts[4:6], "", "main"][:2]), parts[6:]
        else:
            name, kind, branch, rest = "/".join(parts[1:3]), *([*parts[3:5], "", "main"][:2]), parts[5:]
        branches = self.files.get(name)
        if branches is None:
            return self.reply(404, X_Error_Code="RepoNotFound")
        branch = branch if kind else "main"
        found = next((b for b in branches if branch in (b, commit(b))), None)
        if found is None:
            return self.reply(404, X_Error_Code="RevisionNotFound")
        files = branches[found]
        if kind == "resolve":
            return self.resolve(files, "/".join(rest), commit(found))
        if kind == "tree":
            entries = self.tree(files, "/".join(rest), deep="recursive=true" in query.lower())
            return (
                self.reply(200, json.dumps(entries).encode())
                if entries
                else self.reply(404, X_Error_Code="EntryNotFound")
            )
        if kind == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            return self.reply(
                200, json.dumps([self.entry(files, path) for path in wanted if path in files]).encode()
            )
        siblings = [{"rfilename": path} for path in files]
        return self.reply(200, json.dumps({"id": name, "sha": commit(found), "siblings": siblings}).encode())

    do_HEAD = do_POST = do_GET  # noqa: N815

    def entry(self, files: dict[str, bytes], path: str) -> dict[str, Any]:
        kind = "file" if path in files else "directory"
        return {"type": kind, "path": path, "size": len(files.get(path, b"")), "oid": commit(path)}

    def tree(self, files: dict[str, bytes], folder: str, deep: bool) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        below = [path.removeprefix(prefix).split("/") for path in files if path.startswith(prefix)]
        names = {
            prefix + "/".join(parts[:n]) for parts in below for n in range(1, len(parts) + 1 if deep else 2)
        }
        return [self.entry(files, path) for path in sorted(names)]

    def resolve(self, files: dict[str, bytes], path: str, revision: str) -> None:
        headers = {"X_Repo_Commit": revision, "ETag": f'"{commit(path)}"', "Accept_Ranges": "bytes"}
        if path not in files:
            return self.reply(404, X_Error_Code="EntryNotFound", **headers)
        content = files[path]
        span = self.headers.get("Range")
        if span is None or self.command == "HEAD":
            return self.reply(200, content, **headers)
        first, last = (int(n) if n else None for n in span.removeprefix("bytes=").split("-"))
        assert first is not None
        part = content[first : len(content) if last is None else last + 1]
        return self.reply(
            206, part, Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(content)}", **headers
        )


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    def content(texts: Any) -> bytes:
        if isinstance(texts, bytes):
            return texts
        path = tmp_path_factory.mktemp("parquet") / "x.parquet"
        pq.write_table(pa.table({"text": texts, "id": range(len(texts))}), path)
        return path.read_bytes()

    Hub.files = {
        name: {
            branch: {path: content(texts) for path, texts in files.items()}
            for branch, files in branches.items()
        }
        for name, branches in REPOSITORIES.items()
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


#: Settings, one JSON object a line on standard input -> what came of each, the same way on standard output.
SCRIPT = """
import json, sys
from normlab.data import hub, load_corpus
from normlab.errors import UserError
from normlab.catalogue.datasets import HubData
hub.PATIENCE = 2.0
for line in sys.stdin:
    try:
        corpus = load_corpus(HubData(source="hub", **json.loads(line)), 16)
        text = corpus.decode([*corpus.train, *corpus.validation])
        print(json.dumps([corpus.documents, len(text), text[:40]]))
    except UserError as error:
        print(json.dumps(f"{type(error).__name__} {error}"))
"""


def ask(settings: list[dict[str, Any]], endpoint: str, folder: Path, **environment: str) -> list[Any]:
    """What loading gives, in a process of its own: the libraries read the hub's address when imported."""
    variables = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    variables |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        input="\n".join(map(json.dumps, settings)),
        env=variables | {"HF_HUB_OFFLINE": "0"} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def ready(name: str) -> dict[str, Any]:
    """The settings of a file in conf/data, as Hydra would lay them over the row `hub`."""
    settings: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text("utf-8"))
    assert settings.pop("defaults") == ["hub", "_self_"]
    return settings


@pytest.mark.parametrize("name", READY)
def test_ready_made_files_set_what_there_is(name: str) -> None:
    settings = ready(name)
    assert settings.keys() <= {field.name for field in fields(HubData)}
    assert HubData(source="hub", **settings).name in REPOSITORIES


def test_the_ready_made_are_those_that_are_promised() -> None:
    assert READY == ["fineweb-edu", "tinyshakespeare", "tinystories", "wikitext-103", "wikitext-2"]


WIKI = {"name": "Salesforce/wikitext", "subset": "wikitext-2-raw-v1"}
STREAM = {"name": "HuggingFaceFW/fineweb-edu", "subset": "sample-10BT", "max_tokens": 1000}
SHARDS = {"name": "some/shards", "val_split": "tail", "val_fraction": 0.5}
#: What is asked for and not there -> how the answer begins.
MISSING: list[tuple[dict[str, Any], str]] = [
    (WIKI | {"name": "Sales/wikitext"}, "data.name: the hub has no dataset Sales/wikitext"),
    (WIKI | {"name": "wikitext"}, "data.name: 'wikitext' is not OWNER/NAME"),
    (WIKI | {"name": "a b/c"}, "data.name: 'a b/c' is not OWNER/NAME"),
    (WIKI | {"revision": "v0"}, "data.revision: Salesforce/wikitext has no revision 'v0'"),
    (
        WIKI | {"subset": "x"},
        "data.subset: Salesforce/wikitext: BuilderConfig 'x' not found. Available: ['wiki",
    ),
    (WIKI | {"subset": None}, "data.subset: Salesforce/wikitext: Config name is missing. Please pick one"),
    (
        WIKI | {"split": "dev"},
        "data.split: Salesforce/wikitext: Unknown split \"dev\". Should be one of ['train']",
    ),
    (
        WIKI | {"text_column": "txt"},
        "data.text_column: Salesforce/wikitext has no column 'txt'; its columns are: ",
    ),
    (STREAM | {"text_column": "id"}, "data.text_column: the column 'id' of Hugging"),
    (
        {"name": "karpathy/tiny_shakespeare"},
        "data.name: karpathy/tiny_shakespeare comes with a loading script, which is never run; "
        "try data.revision=refs/convert/parquet",
    ),
]


@dataclass
class Answers:
    """What one process got from the hub, and the folder with the library's cache and ours."""

    folder: Path
    missing: list[str]
    ready: list[list[Any]]
    streams: list[list[Any]]
    shards: list[list[Any]]


@pytest.fixture(scope="module")
def answers(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("online")
    # The script's repository first: what the library has of another revision it would take for this one.
    missing = [settings for settings, _ in MISSING]
    streams = [STREAM | {"streaming": True}, STREAM | {"val_fraction": 0.06}]
    shards = [SHARDS, SHARDS | {"streaming": True, "max_tokens": 100}]
    settings = [*missing, *map(ready, READY), *streams, *shards]
    found = ask(settings, endpoint, folder, NORMLAB_CACHE=str(folder / "cache"))
    return Answers(folder, found[: len(missing)], found[len(missing) : -4], found[-4:-2], found[-2:])


def test_ready_made_datasets_from_a_hub_that_answers(answers: Answers) -> None:
    fineweb, shakespeare, stories, wiki103, wiki2 = answers.ready
    pages, lines = sum(map(len, PAGES)) + len(PAGES), sum(map(len, LINES))
    assert fineweb[:2] == stories[:2] == [100, pages]
    assert shakespeare[0] == 1
    assert shakespeare[2].startswith("To be or not to be.\nTo be")
    assert wiki2 == wiki103 == [1, lines, "".join(LINES)[:40]]
    notes = {json.loads(meta.read_text())["note"] for meta in answers.folder.glob("cache/*/meta.json")}
    assert notes == {commit("main"), commit("refs/convert/parquet")}


def test_what_is_asked_for_and_not_there(answers: Answers) -> None:
    for found, (_, expected) in zip(answers.missing, MISSING, strict=True):
        assert found.startswith(f"ConfigError {expected}")


def test_a_stream_is_left_at_max_tokens(answers: Answers) -> None:
    stream, download = answers.streams
    assert stream[:2] == download[:2] == [4, 1000]


def test_shards_of_other_columns_and_with_groups_without_rows_are_read(answers: Answers) -> None:
    text = "what is in the first\0what is in the other\0"
    assert answers.shards == [[2, len(text), text[:40]]] * 2


def test_cached_tokens_need_no_hub(answers: Answers) -> None:
    found = ask(
        [ready(n) for n in READY], NOBODY, answers.folder, NORMLAB_CACHE=str(answers.folder / "cache")
    )
    assert found == answers.ready


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_told_to_be_offline_the_library_uses_what_it_has(switch: str, answers: Answers) -> None:
    found, unknown = ask(
        [ready("wikitext-2"), WIKI | {"name": "a/b"}], NOBODY, answers.folder, **{switch: "1"}
    )
    assert found == answers.ready[READY.index("wikitext-2")]
    assert unknown.startswith("DataError the HuggingFace hub cannot be reached for a/b (")


def test_a_cache_of_the_library_that_cannot_be_written(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder is needed")
    blocked = {"HF_DATASETS_CACHE": str(tmp_path / "blocked" / "datasets")}
    (found,) = ask([ready("wikitext-2")], endpoint, tmp_path, **blocked)
    assert found[0] == 1


@pytest.mark.parametrize("kind", ["refuses", "mute"])
def test_a_hub_out_of_reach_is_given_up_soon(kind: str, tmp_path: Path, cache: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "mute":  # takes the call and says nothing
            listener.listen(8)
        (found,) = ask([ready("wikitext-2")], f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
    assert found.startswith("DataError the HuggingFace hub cannot be reached for Salesforce/wikitext (")
    assert ("refused" if kind == "refuses" else "no answer within 2 s") in found
    assert found.endswith("To train on a file of your own: data=text data.path=FILE")
    assert list(cache.iterdir()) == []
    assert hub.ANSWER + 2 * hub.PATIENCE < 30


class Slow(Hub):
    """Takes its time for each answer, more in all than a silence may last."""

    def do_GET(self) -> None:
        time.sleep(0.6)
        super().do_GET()

    do_HEAD = do_POST = do_GET  # noqa: N815


class Lost(Hub):
    """Answers questions, and gives no file."""

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            time.sleep(60)
        super().do_GET()

    do_HEAD = do_POST = do_GET  # noqa: N815


@pytest.mark.parametrize("kind", [Slow, Lost])
def test_a_hub_may_be_slow_but_not_silent(kind: type[Hub], endpoint: str, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.block_on_close = False
        (found,) = ask([ready("wikitext-2")], f"http://127.0.0.1:{server.server_address[1]}", tmp_path)
        server.shutdown()
    if kind is Slow:
        assert found == [1, sum(map(len, LINES)), "".join(LINES)[:40]]
    else:
        assert (
            "the HuggingFace hub cannot be reached for Salesforce/wikitext (TimeoutError: no answer" in found
        )


def test_waiting_for_a_name_to_be_looked_up_has_an_end() -> None:
    never, start = threading.Event(), time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        hub._within(0.05, never.wait)
    assert time.monotonic() - start < 2
    never.set()
    assert hub._within(1, lambda: TEXT_COLUMN) == "text"
    with pytest.raises(ZeroDivisionError):
        hub._within(1, lambda: 1 // 0)


def test_no_more_of_a_stream_is_taken_than_is_needed() -> None:
    def stream() -> Iterator[str | None]:
        yield from ("12345", None, "", "12345", "\ufeff12345")
        raise AssertionError("read on")

    assert list(hub._until(15, clean(stream()))) == ["12345"] * 3


def test_a_stream_needs_an_end() -> None:
    with pytest.raises(ConfigError, match=r"data\.streaming: needs data\.max_tokens"):
        HubData(name="a/b", source="hub", streaming=True)


def test_a_folder_of_that_name_is_not_mistaken_for_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.name: owner/name is a local path; use data=text"):
        hub.read(HubData(name="owner/name", source="hub"), tmp_path, None)
