"""Diagnoses from the residual stream: growth over depth, and branches too small to matter."""

import math

from normlab.catalogue.norms import NORMS
from normlab.explain import cures
from normlab.explain.case import Case, digits
from normlab.explain.finding import Cure, Evidence, Finding

RMS = "stream/rms"
REZERO = "Bachlechner et al. 2020 (ReZero), arXiv 2003.04887"
#: Growth from the first block to the last that is exponential if it is also even.
GROWTH = 30.0
#: Branches smaller than this share of the stream, in every block, leave it as it is.
TINY = 0.05


def grows_exponentially(case: Case) -> Finding | None:
    """Nothing norms the stream or what branches read, and it grows by a like factor in each block."""
    points = case.depth_at(RMS, min(case.onset, case.rows[-1]["step"]))
    points = [point for point in points if point.value > 0]
    if len(points) < 4 or points[-1].value < GROWTH * points[0].value:
        return None
    logs = [math.log(point.value) for point in points]
    if not _straighter(logs, [point.value for point in points]):
        return None
    factor = math.exp((logs[-1] - logs[0]) / (len(logs) - 1))
    evidence = [
        Evidence(
            f"the stream grew over depth from {digits(points[0].value)} after {points[0].place} to "
            f"{digits(points[-1].value)} after {points[-1].place} (step {points[-1].step}), by "
            f"{factor:.2f} a block",
            points[-1],
        )
    ]
    slopes = case.depth_at("grad_stream", points[-1].step)
    if len(slopes) > 1 and slopes[-1].value > 0:
        ratio = slopes[0].value / slopes[-1].value
        evidence.append(
            Evidence(
                f"the gradient of the loss in the stream is {digits(ratio)} times as large after "
                f"{slopes[0].place} as after {slopes[-1].place} (step {slopes[0].step})",
                slopes[0],
            )
        )
    return Finding(
        claim="The stream grows exponentially with depth, and gradients with it: nothing holds it.",
        evidence=evidence,
        cures=_cures(case),
        source=f"Zhang et al. 2019 (Fixup), arXiv 1901.09321; {REZERO}",
        step=points[-1].step,
    )


def _straighter(logs: list[float], values: list[float]) -> bool:
    """Whether the logarithms lie nearer a line over depth than the values do."""
    return _bend(logs) < _bend(values)


def _bend(values: list[float]) -> float:
    """Share of the variance that a line through the values leaves."""
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    across = sum((i - middle) ** 2 for i in range(count))
    slope = sum((i - middle) * value for i, value in enumerate(values)) / across
    total = sum((value - mean) ** 2 for value in values)
    left = sum((value - mean - slope * (i - middle)) ** 2 for i, value in enumerate(values))
    return left / total if total else 1.0


def _cures(case: Case) -> list[Cure | None]:
    found: list[Cure | None] = []
    if case.config.norm.name == "identity":
        found.append(
            Cure(
                meaning="norm what the branches read",
                words=("norm=layernorm",),
                support=cures.elsewhere("init.gain=2, 40 steps", "3.08 nats; not finite without", layers=16),
                source=cures.XIONG,
            )
        )
    found.append(
        cures.placement(
            case,
            "rezero",
            "ReZero: each branch starts at 0 and learns its own size",
            cures.elsewhere("no norm, init.gain=2, 40 steps", "3.01 nats; not finite without", layers=16),
            REZERO,
        )
    )
    return found


def branches_are_tiny(case: Case) -> Finding | None:
    """At the start every branch is a small part of the stream, so that its placement does nothing yet."""
    first = case.first("stream/branch_ratio/layer_00/ffn")
    if first is None or NORMS[case.config.norm.name].scope == "none":
        return None
    keys = [f"stream/branch_ratio/{layer}/{kind}" for layer in case.layers for kind in ("attn", "ffn")]
    ratios = [point for key in keys for point in case.series(key) if point.step == first.step]
    most = max(ratios, key=lambda point: point.value)
    if most.value >= TINY or _silent_by_design(case):
        return None
    return Finding(
        claim="At the start the branches were so small that where the norms sit could hardly matter; what "
        "training makes of them is another matter.",
        evidence=[
            Evidence(
                f"no branch was more than {100 * most.value:.1f} % of the stream at step {first.step} "
                f"(most in {most.metric.removeprefix('stream/branch_ratio/')})",
                most,
            )
        ],
        cures=[
            Cure(
                meaning="initial weights that follow the width, to compare placements",
                words=("init=fan_in",),
                support="normlab probe: std 0.02 at width 64 takes the gradient ratio of Post to Pre from "
                "8.5 to 0.99",
                source="measured with normlab: experiment=probe_small_init",
            )
        ]
        if case.config.init.name != "fan_in"
        else [],
        source="Xiong et al. 2020, arXiv 2002.04745 (the effects of placement assume weights of std d^-1/2)",
        strength="beside",
        step=first.step,
    )


def _silent_by_design(case: Case) -> bool:
    """ReZero, LayerScale, DeepNorm and the like make branches small on purpose."""
    record = case.sublayer("layer_00", 1)
    scales = (record.skip_scale, record.branch_scale, record.in_scale)
    return record.norm_out_gain != 1 or any(scale.value != "1" for scale in scales)
