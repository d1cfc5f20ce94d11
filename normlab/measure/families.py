"""Families of metrics, of which each place of the model has one: the one table of their titles and units.

`stream/rms/layer_03` is of the family `stream/rms`, at the place `layer_03`. Figures, the page, wandb's view,
completion and the table in outputs/README.md have them from here.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from normlab.errors import UserError, nearest

_METRIC = re.compile(r"(.+)/(embedding|layer_\d+|final_norm|head)")


class Family(NamedTuple):
    """A family of metrics. `measure` is the setting that has it measured."""

    key: str
    title: str
    unit: str
    measure: str
    #: Whether its axis is logarithmic.
    logarithmic: bool = True
    #: Whether small is alarming: a column that stands for several steps shows the least of them.
    falls: bool = False
    #: Whether a saved view of wandb has a panel of it.
    panel: bool = False

    @property
    def heading(self) -> str:
        """The title with a capital at the start."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def axis(self) -> str:
        """The name of an axis with these values."""
        return f"{self.title} ({self.unit})"


class MetricPlace(NamedTuple):
    """Where a metric belongs."""

    family: str
    name: str


#: Those that tell most come first.
_ROWS = (
    Family("grad_norm", "gradient norm", "L2", "measure.grad_norm=1", panel=True),
    Family("stream/rms", "residual stream RMS", "after the block", "measure.stream=20", panel=True),
    Family("update/ratio", "update over weights", "ratio of norms", "measure.update=20", panel=True),
    Family(
        "grad_stream", "gradient in the stream", "L2 over the batch", "measure.grad_stream=20", panel=True
    ),
    Family("attention/max_logit", "attention logits", "largest", "measure.attention=20", panel=True),
    Family(
        "attention/entropy_share",
        "attention entropy",
        "share",
        "measure.attention=20",
        logarithmic=False,
        falls=True,
        panel=True,
    ),
    Family("grad_rms", "gradient RMS", "per parameter", "measure.grad_norm=1"),
    Family("stream/max", "largest of the stream", "absolute, after the block", "measure.stream=20"),
    Family("attention/entropy", "attention entropy", "nats", "measure.attention=20", False, True),
    Family(
        "attention/entropy_share_min", "least entropy of a head", "share", "measure.attention=20", False, True
    ),
    Family("attention/entropy_min", "least entropy of a head", "nats", "measure.attention=20", False, True),
    Family("stream/variance", "residual stream variance", "after the block", "measure.stream=20"),
    Family("stream/kurtosis", "kurtosis of the stream", "3 for a Gaussian", "measure.stream=20"),
    Family("stream/cosine", "stream before and after the block", "cosine", "measure.stream=20", False),
    Family("stream/angle", "turn of the stream", "share of 180 degrees", "measure.stream=20", False),
    Family("stream/massive", "massive activations", "most in a sequence", "measure.stream=20"),
    Family("second_stream/rms", "second stream RMS", "after the block", "measure.stream=20"),
    Family("second_stream/variance", "second stream variance", "after the block", "measure.stream=20"),
    Family("second_stream/max", "largest of the second stream", "absolute", "measure.stream=20"),
    Family("second_stream/kurtosis", "kurtosis of the second stream", "Gaussian: 3", "measure.stream=20"),
    Family("grad_second_stream", "gradient in the second stream", "L2", "measure.grad_stream=20"),
    Family("update/cosine", "update against -gradient", "cosine", "measure.update=20", False),
    Family("update/eps_ratio", "gradient over the optimizer's eps", "ratio", "measure.update=20"),
    Family("update/gradient_ratio", "lasting step over the weights, SGD", "ratio", "measure.update=20"),
    Family("gain/mean", "gain of the norms", "mean", "measure.gain=20", False),
    Family("gain/min", "gain of the norms", "smallest", "measure.gain=20", False),
    Family("gain/max", "gain of the norms", "largest", "measure.gain=20", False),
    Family("norm/saturated", "saturated in the norms", "share", "measure.norm=20", False),
    Family("batchnorm/mean_gap", "batch mean from the running one", "deviations", "measure.batchnorm=20"),
    Family("batchnorm/std_gap", "batch deviation from the running one", "deviations", "measure.batchnorm=20"),
    Family("ffn/dead", "dead hidden units", "share", "measure.hidden=20", False),
    Family("ffn/dormant", "dormant hidden units", "share", "measure.hidden=20", False),
    Family("ffn/saturated", "saturated hidden units", "share", "measure.hidden=20", False),
    Family("ablation/skip", "rise of the loss without the block", "nats", "measure.ablation=end", False),
    Family("ablation/swap", "rise of the loss, block swapped", "nats", "measure.ablation=end", False),
)
FAMILIES = {family.key: family for family in _ROWS}
#: What is drawn where nothing else is asked for: gradient, stream and update.
USUAL = ("grad_norm", "stream/rms", "update/ratio")


def place(metric: str) -> MetricPlace | None:
    """The family and place of `grad_norm/layer_03`; None for a metric of the whole model."""
    found = _METRIC.fullmatch(metric)
    return MetricPlace(*found.groups()) if found else None


def depth(place: str) -> tuple[int, int]:
    """Orders places from the embedding to the head."""
    kinds = ("embedding", "layer", "final_norm", "head")
    kind, _, number = place.partition("_") if place.startswith("layer_") else (place, "", "0")
    return kinds.index(kind), int(number)


def family(key: str) -> Family:
    """The family of that name.

    Raises:
        UserError: there is none; it suggests the nearest.
    """
    if key not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"--metric {key}: is not measured by layer; one of {known}.{nearest(key, FAMILIES)}")
    return FAMILIES[key]


def any_family(key: str) -> Family:
    """What is known of a family, which may be of another version: then its name is its title."""
    return FAMILIES.get(key) or Family(key, title=key, unit=key.rpartition("/")[2], measure="")


def missing(family: Family, there: Iterable[str]) -> str:
    """That no run has it, which setting would have measured it, and what there is instead."""
    known = [key for key in there if key in FAMILIES]
    beside = f"; there is {', '.join(known)}" if known else ""
    return f"no run has {family.key} by layer: {family.measure} would have measured it{beside}"
