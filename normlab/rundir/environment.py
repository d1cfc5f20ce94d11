"""Where and with what a run was made: `environment.json`."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from normlab.config import RunConfig
from normlab.machine import ranks

_PACKAGES = (
    "torch",
    "numpy",
    "datasets",
    "tokenizers",
    "hydra-core",
    "omegaconf",
    "wandb",
    "typer",
    "rich",
    "matplotlib",
    "pillow",
)


def describe(config: RunConfig, device: torch.device) -> dict[str, Any]:
    """Versions, git commit, threads, device and seeds."""
    return {
        "normlab": _version("normlab"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git(Path(__file__).resolve()),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cpus": os.cpu_count(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": ranks.size(),
        "seed": config.seed,
    }


def blind() -> str:
    """What is to be known where torch cannot see the processor; empty where it can.

    Its library cpuinfo reads /proc/cpuinfo, and without it torch takes the kernels that any processor has.
    """
    if sys.platform != "linux" or Path("/proc/cpuinfo").exists():
        return ""
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"without /proc torch takes its {kernels} kernels: slower, and losses differ in their last digits"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's model where the system tells it, else its kind."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _git(file: Path) -> dict[str, Any] | None:
    """Commit of the checkout that `file` is tracked in, and whether that was changed; None outside one.

    A package installed below another project's checkout is not a part of it.
    """
    folder = file.parent
    try:
        _run_git(folder, "ls-files", "--error-unmatch", file.name)
        commit = _run_git(folder, "rev-parse", "HEAD")
        return {
            "commit": commit,
            "changed": bool(_run_git(folder, "status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _run_git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()
