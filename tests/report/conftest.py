"""Runs with layers, for pages of them."""

import base64
import json
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_runs import losses as losses
from written_runs import sweep as sweep
from written_runs import write as write

from normlab.disk.strict_json import line_of
from normlab.report.render import render
from normlab.report.report import PageTarget, make
from normlab.runs.reader import load

VOID = {"meta", "br", "input", "link", "img", "hr"}


class Parsed(HTMLParser):
    """A page as its tags, its texts and its scripts; fails on tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "script":
            self.scripts.append((dict(attributes), ""))
        if tag == "style":
            self.styles.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        elif inside == "style":
            self.styles[-1] += data
        else:
            self.texts.append(data)
            if inside in ("td", "th"):
                self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> dict[str, Any]:
        """What the scripts draw."""
        [text] = [text for attributes, text in self.scripts if attributes.get("id") == "report"]
        found: dict[str, Any] = json.loads(text)
        return found

    def numbers(self, blob: int) -> Any:
        """The numbers of a blob, by the definition of the packing."""
        [text] = [text for attributes, text in self.scripts if attributes.get("id") == f"b{blob}"]
        content = zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS)
        return np.frombuffer(np.frombuffer(content, np.uint8).reshape(4, -1).T.tobytes(), "<f4")


@pytest.fixture
def parsed() -> type[Parsed]:
    return Parsed


@pytest.fixture
def few(tmp_path: Path, write: Callable[..., Path], layers: Callable[..., None]) -> Path:
    """Three placements with two seeds each, with layers."""
    for placement in ("pre", "post", "deepnorm"):
        for seed in range(2):
            loss = 2.5 + 0.3 * (placement == "post") + 0.01 * seed
            layers(write(tmp_path / "few" / f"{placement}-{seed}", loss, seed=seed, placement=placement))
    return tmp_path / "few"


@pytest.fixture
def page() -> Callable[..., Parsed]:
    """`page(paths, title=..., force=...)`: the page of runs, parsed."""

    def build(*paths: Path, **target: Any) -> Parsed:
        return Parsed(render(make(load(*paths), PageTarget(path=Path("report.html"), **target))))

    return build


def layered(step: int) -> dict[str, Any]:
    """What two layers measure in a step; the gradient of layer 1 is ten times that of layer 0."""
    row = {"grad_norm/global": 1.0, "grad_norm/embedding": 0.5 + step, "grad_norm/head": 0.2, "lr": 1e-3}
    row |= {"grad_norm/layer_00": 0.1, "grad_norm/layer_01": 1.0, "grad_norm/layer_00/attn.qkv": 7.0}
    return row | ({"stream/rms/layer_00": 1.0, "stream/rms/layer_01": 2.0} if step % 5 == 0 else {})


@pytest.fixture
def layers() -> Callable[..., None]:
    """`layers(directory, change)`: gives each row of a run those of layers, and changes it in place."""

    def add(directory: Path, change: Callable[[dict[str, Any]], Any] = lambda row: None) -> None:
        path = directory / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row |= layered(row["step"])
            change(row)
        path.write_bytes(b"".join(map(line_of, rows)))

    return add


EVENT = {
    "step": 10,
    "kind": "spike",
    "metric": "loss",
    "value": 9.0,
    "threshold": 6.0,
    "layers": ["layer_01"],
    "message": "the loss jumped",
    "end": 12,
    "recovered": True,
    "recovery_steps": 2,
}


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """`event(step=3, kind="plateau")`: an event of that kind."""
    return lambda **changes: EVENT | changes
