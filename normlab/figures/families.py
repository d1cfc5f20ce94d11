"""The families of numbers by layer that figures can show, with their units and what measures them."""

from collections.abc import Iterable
from typing import NamedTuple

from normlab.errors import UserError, nearest


class Family(NamedTuple):
    """A family: its keys are such as `stream/rms/layer_03`."""

    key: str
    title: str
    unit: str
    #: The setting that has it measured.
    measure: str
    logarithmic: bool = True

    @property
    def axis(self) -> str:
        """The name of an axis with these values."""
        return f"{self.title} ({self.unit})"


_ROWS = (
    Family("grad_norm", "gradient norm", "L2", "measure.grad_norm=1"),
    Family("grad_rms", "gradient RMS", "per parameter", "measure.grad_norm=1"),
    Family("grad_stream", "gradient in the stream", "L2 over the batch", "measure.grad_stream=20"),
    Family("stream/rms", "residual stream RMS", "after the block", "measure.stream=20"),
    Family("stream/variance", "residual stream variance", "after the block", "measure.stream=20"),
    Family("stream/max", "largest of the stream", "absolute, after the block", "measure.stream=20"),
    Family("stream/kurtosis", "kurtosis of the stream", "3 for a Gaussian", "measure.stream=20"),
    Family("stream/cosine", "stream before and after the block", "cosine", "measure.stream=20", False),
    Family("stream/angle", "turn of the stream", "share of 180 degrees", "measure.stream=20", False),
    Family("second_stream/rms", "second stream RMS", "after the block", "measure.stream=20"),
    Family("second_stream/variance", "second stream variance", "after the block", "measure.stream=20"),
    Family("second_stream/max", "largest of the second stream", "absolute", "measure.stream=20"),
    Family("second_stream/kurtosis", "kurtosis of the second stream", "Gaussian: 3", "measure.stream=20"),
    Family("grad_second_stream", "gradient in the second stream", "L2", "measure.grad_stream=20"),
    Family("update/ratio", "update over weights", "ratio of norms", "measure.update=20"),
    Family("update/cosine", "update against -gradient", "cosine", "measure.update=20", False),
    Family("update/eps_ratio", "gradient over the optimizer's eps", "ratio", "measure.update=20"),
    Family("update/gradient_ratio", "lasting step over the weights, SGD", "ratio", "measure.update=20"),
    Family("gain/mean", "gain of the norms", "mean", "measure.gain=20", False),
    Family("gain/min", "gain of the norms", "smallest", "measure.gain=20", False),
    Family("gain/max", "gain of the norms", "largest", "measure.gain=20", False),
    Family("norm/saturated", "saturated in the norms", "share", "measure.norm=20", False),
    Family("attention/max_logit", "attention logits", "largest", "measure.attention=20"),
    Family("attention/entropy", "attention entropy", "nats", "measure.attention=20", False),
    Family("attention/entropy_share", "attention entropy", "share", "measure.attention=20", False),
    Family("attention/entropy_min", "least entropy of a head", "nats", "measure.attention=20", False),
    Family("attention/entropy_share_min", "least entropy of a head", "share", "measure.attention=20", False),
    Family("ffn/dead", "dead hidden units", "share", "measure.hidden=20", False),
    Family("ffn/dormant", "dormant hidden units", "share", "measure.hidden=20", False),
    Family("ffn/saturated", "saturated hidden units", "share", "measure.hidden=20", False),
    Family("ablation/skip", "rise of the loss without the block", "nats", "measure.ablation=end", False),
    Family("ablation/swap", "rise of the loss, block swapped", "nats", "measure.ablation=end", False),
)
FAMILIES = {family.key: family for family in _ROWS}
#: What is drawn where nothing else is asked for: gradient, stream and update.
USUAL = ("grad_norm", "stream/rms", "update/ratio")


def family(key: str) -> Family:
    """The family of that name.

    Raises:
        UserError: there is none; it suggests the nearest.
    """
    if key not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"--metric {key}: is not measured by layer; one of {known}.{nearest(key, FAMILIES)}")
    return FAMILIES[key]


def missing(family: Family, there: Iterable[str]) -> str:
    """That no run has it, which setting would have measured it, and what there is instead."""
    known = [key for key in there if key in FAMILIES]
    beside = f"; there is {', '.join(known)}" if known else ""
    return f"no run has {family.key} by layer: {family.measure} would have measured it{beside}"
