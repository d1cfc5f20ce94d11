"""The state of the random numbers."""

import torch
from torch import Tensor


def rng_state(device: torch.device) -> list[Tensor]:
    """Of the host and, if that is another, of the device."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


def set_rng_state(device: torch.device, state: list[Tensor]) -> None:
    """As `rng_state` gave it."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
