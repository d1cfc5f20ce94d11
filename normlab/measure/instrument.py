"""What an instrument is, and all of a run's together."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

#: Tensors that pass a site -> 1-D tensor of what is kept of them.
Look = Callable[..., Tensor]


class SiteProtocol(Protocol):
    """A place in the model that shows tensors to its `looks` and keeps what they return in `seen`."""

    looks: dict[str, Look]
    seen: dict[str, Tensor]


class StreamSiteProtocol(SiteProtocol, Protocol):
    """A place on the residual stream x, which takes up dL/dx in the gradient of `probe`."""

    probe: Tensor | None


def wide(x: Tensor) -> Tensor:
    """At least float32: sums of many bf16 numbers are worth nothing."""
    return x if x.dtype == torch.float64 else x.float()


def over(x: Tensor, y: Tensor) -> Tensor:
    """x / y for y >= 0; finite where both are, 0 for 0 / 0: a ratio to nothing is no broken number."""
    return x / y.clamp(min=torch.finfo(y.dtype).tiny)


class Reading(NamedTuple):
    """The numbers of one family of metrics: `stream/rms` at `layer_00`, `layer_01`, ... A metric of the whole
    model is a family by itself, at no place.
    """

    family: str
    #: (len(places),), float64 or float32, on the model's device.
    values: Tensor
    places: Sequence[str] = ("",)

    @property
    def names(self) -> list[str]:
        """The metrics, one for each of the values."""
        return [f"{self.family}/{place}" if place else self.family for place in self.places]


class Instrument:
    """Measures at some steps.

    In such a step the loop calls `begin`, then `micro` after the backward pass of each micro-batch, then
    once `rerun`, then `values`; and after the optimizer's step, if it is taken, `updated`.
    """

    #: (n, ...) of this process -> those of all that train the run, one after the other.
    gather: Callable[[Tensor], Tensor] = staticmethod(lambda own: own)

    def begin(self) -> None:
        """Before the first forward pass of the step."""

    def micro(self, logits_NV: Tensor, targets_N: Tensor) -> None:
        """After each micro-batch; N = B*T tokens."""

    def rerun(self, loss: Tensor, forward: Callable[[], Tensor]) -> None:
        """After the last; `forward` runs the step's batch forward once more, without gradients, with the same
        random numbers and without a trace in the model, and returns its loss (0-d), as `loss` is."""

    def values(self) -> list[Reading]:
        """What was measured; forgets the step."""
        raise NotImplementedError

    def updated(self, forward: Callable[[], Iterator[None]]) -> list[Reading]:
        """What is known after the optimizer's step; `forward` runs the step's batch forward with the new
        weights, as in `rerun`, and stops after each micro-batch."""
        return []


class Looking(Instrument):
    """An instrument that keeps a 1-D tensor of what passes each of its sites, for each micro-batch."""

    def __init__(self, family: str, sites: Mapping[str, SiteProtocol], look: Look) -> None:
        self.family, self.look = family, look
        self.places, self.sites = list(sites), list(sites.values())
        self._parts: list[Tensor] = []

    def begin(self) -> None:
        for site in self.sites:
            site.looks[self.family] = self.look

    def micro(self, logits_NV: Tensor, targets_N: Tensor) -> None:
        self.keep()

    def keep(self) -> None:
        """What the sites have seen of the latest pass."""
        self._parts.append(torch.stack([site.seen[self.family] for site in self.sites]))

    def parts(self) -> Tensor:
        """(micro-batches, sites, figures); forgets them and looks no more."""
        for site in self.sites:
            del site.looks[self.family]
        parts, self._parts = torch.stack(self._parts), []
        return self.gather(parts)


def due(every: int, step: int) -> bool:
    """Whether there is a measurement at this step; never where `every` is 0."""
    return every > 0 and step % every == 0


class Instruments:
    """The instruments of a run, each with the number of steps from one measurement to the next.

    `left_out` says, a sentence each, what was asked for and cannot be had in this run, and why.
    """

    def __init__(self, instruments: Iterable[tuple[int, Instrument]], left_out: Iterable[str] = ()) -> None:
        self.every, self.left_out = list(instruments), tuple(left_out)
        self.due: list[Instrument] = []

    def share(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Have all look at what other processes see too."""
        for _, instrument in self.every:
            instrument.gather = gather

    def begin(self, step: int) -> None:
        self.due = [instrument for every, instrument in self.every if due(every, step)]
        for instrument in self.due:
            instrument.begin()

    def micro(self, logits_NV: Tensor, targets_N: Tensor) -> None:
        for instrument in self.due:
            instrument.micro(logits_NV.detach(), targets_N)

    def rerun(self, loss: Tensor, forward: Callable[[], Tensor]) -> None:
        for instrument in self.due:
            instrument.rerun(loss, forward)

    def rest(self) -> None:
        """Look no more at this step."""
        self.due = []

    def values(self) -> list[Reading]:
        """Of what is due at this step, still on the device."""
        return [reading for instrument in self.due for reading in instrument.values()]

    def updated(self, forward: Callable[[], Iterator[None]]) -> list[Reading]:
        """Of what is due at this step, what is known after the optimizer's step."""
        return [reading for instrument in self.due for reading in instrument.updated(forward)]


def copied(readings: Sequence[Reading]) -> dict[str, float]:
    """Metrics and their numbers, in one copy from the device, as wide as the widest of them."""
    if not readings:
        return {}
    names = [name for reading in readings for name in reading.names]
    return dict(zip(names, torch.cat([reading.values for reading in readings]).tolist(), strict=True))
