"""LayerNorm against RMSNorm, like with like: `python scripts/norm_bench.py [--rounds N]` prints a table.

Each pair is of one make: torch's own kernels (`F.layer_norm`, with and without the bias that RMSNorm lacks,
and `F.rms_norm`), the same formulas written out, and normlab's modules. All take turns, round by round; the
ratio within a round is what counts, and its median is printed. On the CPU it is the processor's time, not the
clock's, so that what else runs on the machine counts little.
"""

import argparse
import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from normlab.catalogue.norms import NORMS
from normlab.model.norms import build_norm

WIDTHS, NUMBERS, EPS = (64, 256, 1024, 4096), 2**18, 1e-5
#: The seconds that a turn takes at least.
TURN = 0.01


class Contender(NamedTuple):
    """A norm, x (N, width) -> (N, width), and what it learns."""

    norm: Callable[[Tensor], Tensor]
    parameters: Sequence[Tensor]


def contenders(width: int, device: torch.device) -> dict[str, Contender]:
    """By name."""
    gain, bias = (torch.full((width,), start, device=device, requires_grad=True) for start in (1.0, 0.0))

    def layer_norm(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred * (centred.square().mean(-1, keepdim=True) + EPS).rsqrt() * gain

    def rms_norm(x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + EPS).rsqrt() * gain

    found = {
        "F.layer_norm": Contender(lambda x: F.layer_norm(x, (width,), gain, bias, EPS), [gain, bias]),
        "F.layer_norm without bias": Contender(lambda x: F.layer_norm(x, (width,), gain, None, EPS), [gain]),
        "F.rms_norm": Contender(lambda x: F.rms_norm(x, (width,), gain, EPS), [gain]),
        "layer norm written out": Contender(layer_norm, [gain]),
        "RMS norm written out": Contender(rms_norm, [gain]),
    }
    for name in ("layernorm", "layernorm_nobias", "rmsnorm"):
        module = build_norm(NORMS[name].config, width).to(device)
        found[f"norm={name}"] = Contender(module, list(module.parameters()))
    return found


#: What is divided by what: an RMS norm by the layer norm of its make.
PAIRS = {
    "torch's": ("F.rms_norm", "F.layer_norm"),
    "torch's, no bias": ("F.rms_norm", "F.layer_norm without bias"),
    "written out": ("RMS norm written out", "layer norm written out"),
    "normlab's": ("norm=rmsnorm", "norm=layernorm"),
    "normlab's, no bias": ("norm=rmsnorm", "norm=layernorm_nobias"),
}


def forward(each: Contender, x: Tensor) -> None:
    with torch.no_grad():
        each.norm(x)


def both_passes(each: Contender, x: Tensor) -> None:
    """Forward, and backward with respect to x and to what is learned."""
    torch.autograd.grad(each.norm(x), [x, *each.parameters], x)


def microseconds(run: Callable[[Contender, Tensor], None], each: Contender, x: Tensor, calls: int) -> float:
    """Mean time of a call, to the end of its work."""
    clock, finish = (time.perf_counter, torch.cuda.synchronize) if x.is_cuda else (time.process_time, int)
    finish()
    began = clock()
    for _ in range(calls):
        run(each, x)
    finish()
    return 1e6 * (clock() - began) / calls


def measure(
    run: Callable[[Contender, Tensor], None], width: int, rounds: int, device: torch.device
) -> list[dict[str, float]]:
    """One dict a round: microseconds of each contender."""
    each = contenders(width, device)
    torch.manual_seed(0)
    x = torch.randn(NUMBERS // width, width, device=device, requires_grad=run is both_passes)
    # The first calls allocate.
    first = {name: [microseconds(run, one, x, 3) for _ in range(2)][1] for name, one in each.items()}
    calls = {name: max(1, round(1e6 * TURN / max(taken, 1))) for name, taken in first.items()}
    return [
        {name: microseconds(run, one, x, calls[name]) for name, one in each.items()} for _ in range(rounds)
    ]


def table(rounds: int, device: torch.device) -> Table:
    shown = Table("pass", "width", *PAIRS, "F.layer_norm, µs", title="time of RMS norm / time of layer norm")
    for run in (forward, both_passes):
        for width in WIDTHS:
            taken = measure(run, width, rounds, device)
            ratios = [
                statistics.median(each[rms] / each[layer] for each in taken) for rms, layer in PAIRS.values()
            ]
            base = statistics.median(each["F.layer_norm"] for each in taken)
            name = "forward" if run is forward else "forward and backward"
            shown.add_row(name, str(width), *(f"{ratio:.2f}" for ratio in ratios), f"{base:.0f}")
    return shown


def keep_freed_memory() -> None:
    """Where the C library is glibc: else pages are asked of the kernel for each result anew, by chance for
    one contender and not for the other, and take longer than the norm."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21, help="turns that each contender has (default 21)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    Console(width=140).print(table(given.rounds, torch.device(given.device)))
    machine = torch.cuda.get_device_name() if given.device == "cuda" else platform.machine()
    print(f"torch {torch.__version__}, {machine}, {given.threads} thread(s), {NUMBERS} numbers in float32")


if __name__ == "__main__":
    main()
