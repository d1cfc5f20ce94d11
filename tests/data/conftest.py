"""Every test has a token cache of its own, and a machine that is not on the network."""

import os
import socket
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NORMLAB_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inodes that were to be put onto the disk; they are not, because two hundred tests would wait for it."""
    inodes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: inodes.append(os.fstat(handle).st_ino))
    return inodes


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that were looked up; the libraries below swallow the error, so tests look here."""
    hosts: list[str] = []

    def refuse(host: str, *args: object, **kwargs: object) -> None:
        hosts.append(str(host))
        raise OSError(f"no network in tests: {host}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return hosts
