"""A stand-in for `normlab.run`, which would import torch and train; jobs of sweeps stay in this process."""

import dataclasses
import json
import sys
import types

import pytest
import yaml

import normlab
from normlab.errors import DataError
from normlab.launch import child


class FakeRun(types.ModuleType):
    """Notes what it is asked to do. A seed chooses what happens; `CALLS` is the order."""

    SHORT, FULL_DISK, INTERRUPTED, LOST, REFUSED, BROKEN = 90, 91, 92, 93, 94, 95

    def __init__(self):
        super().__init__("normlab.run")
        self.checked, self.ran, self.resumed = [], [], []

    def check(self, config, texts=None):
        self.checked.append(config)
        if config.seed == self.SHORT:
            raise DataError("the text is too short: 3 tokens, 65 are needed")

    def run(self, config, directory, *, sweep=None, plain=False, corpus=None):
        self.ran.append((config, directory, sweep, plain))
        if config.seed == self.REFUSED:
            raise DataError("the text went away")
        (directory / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
        (directory / "metrics.jsonl").touch()
        self._summary(directory, {"status": "running"})
        if config.seed == self.FULL_DISK:
            raise OSError(28, "No space left on device")
        if config.seed == self.BROKEN:
            raise RuntimeError("a fault of ours")
        summary = {
            "status": "finished",
            "outcome": "stuck" if config.warmup == 0 else "stable",
            "loss/final": 2.5 + config.seed,
            "loss/best": 2.25,
            "first_event": {"kind": "plateau", "step": 171} if config.warmup == 0 else None,
            "seconds": 27.4,
        }
        if config.seed == self.INTERRUPTED:
            summary |= {"status": "interrupted", "signal": 15}
        if config.seed != self.LOST:
            self._summary(directory, summary)
        return summary

    def resume(self, config, directory, *, plain=False):
        self.resumed.append((config, directory))
        self._summary(directory, {"status": "running"})
        if config.seed == self.FULL_DISK:
            raise OSError(28, "No space left on device")
        self._summary(directory, {"status": "finished", "outcome": "stable", "loss/final": 2.0})
        return (
            {"status": "interrupted", "signal": 2}
            if config.seed == self.INTERRUPTED
            else {"status": "finished"}
        )

    @staticmethod
    def _summary(directory, summary):
        (directory / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The stand-in, in an empty current folder."""
    module = FakeRun()
    monkeypatch.setitem(sys.modules, "normlab.run", module)
    monkeypatch.setattr(normlab, "run", module, raising=False)
    monkeypatch.setattr(child, "apart", child.attempt)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return module
