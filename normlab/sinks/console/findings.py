"""What the measures with passes of their own found, in words for the end of a run."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from normlab.terminal.wording import short


def findings(summary: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and words of each measure that is in `summary`."""
    skips = {key.rpartition("/")[2]: value for key, value in summary.items() if "ablation/skip/" in key}
    if skips:
        yield "depth", _depth(skips, summary["ablation/centre"])
    if "sharpness/critical" in summary:
        yield (
            "sharpness",
            _sharpness(*(summary[f"sharpness/{key}"] for key in ("critical", "multiple", "found"))),
        )
    if "noise_scale/simple" in summary:
        yield "noise scale", _noise(summary["noise_scale/simple"], config)
    if "growth/activation" in summary:
        signals = (("stream", "activation"), ("gradient, downwards", "gradient"))
        yield "growth", "\n".join(f"{name} {_growth(f'growth/{key}', summary)}" for name, key in signals)


def _depth(skips: Mapping[str, float], centre: float) -> str:
    if not all(map(math.isfinite, skips.values())):
        return "unknown: a loss is not finite"
    most, least = max(skips, key=skips.__getitem__), min(skips, key=skips.__getitem__)
    words = f"{most} matters most ({_signed(skips[most])} nat without it), "
    words += f"{least} least ({_signed(skips[least])})"
    return words if math.isnan(centre) else f"{words}; centre at {centre:.0%} of the depth"


def _sharpness(critical: float, multiple: float, found: float) -> str:
    if math.isnan(critical):
        return "unknown: no step was taken, or a loss is not finite"
    beside = f"{short(critical)}, 2/lr {short(critical * multiple)}"
    if not found:
        some = (
            f"no step of up to {short(multiple)} times" if multiple > 1 else f"even {short(multiple)} times"
        )
        return f"a bound: {beside}; {some} the last one raises its batch's loss"
    return f"{beside}; {short(multiple)} times the last step would raise its batch's loss"


def _noise(simple: float, config: Mapping[str, Any]) -> str:
    tokens = simple * config["model"]["context"]
    batch = config["train"]["batch_size"]
    return f"{short(simple)} sequences ({short(tokens)} tokens); a batch has {batch}"


def _growth(key: str, summary: Mapping[str, Any]) -> str:
    halves = [
        f"{half} {_signed(summary[f'{key}/{half}'])}"
        for half in ("lower", "upper")
        if f"{key}/{half}" in summary
    ]
    whole = f"{_signed(summary[key])} a block"
    return f"{whole} ({', '.join(halves)})" if halves else whole


def _signed(value: float) -> str:
    return f"{value:+.3f}" if math.isfinite(value) else short(value)
