"""Initial weights: drawn by (seed, parameter name) alone, times a standard deviation of `catalogue/inits.py`.

Models that differ in norm, placement or depth so share every weight they have in common.
"""

import hashlib

import torch
from torch import Tensor


def normal_(tensor: Tensor, std: float, seed: int, name: str, truncate: float | None = None) -> None:
    """Fill with N(0, std^2) drawn in fp32 from a generator of its own, seeded by (seed, name).

    Args:
        truncate: draw anew what lies further out than this many `std`, until nothing does; what lies nearer
            is as without it.
    """
    if tensor.is_meta:  # a model that is only to be counted
        return
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    z = torch.randn(tensor.shape, generator=generator)
    if truncate is not None:
        while (far := z.abs() > truncate).any():
            z[far] = torch.randn(int(far.sum()), generator=generator)
    with torch.no_grad():
        tensor.copy_(z * std)
