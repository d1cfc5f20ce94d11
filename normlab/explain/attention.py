"""Diagnoses from attention: logits that grow without bound, and a softmax that sees one token."""

import math

from normlab.explain import cures
from normlab.explain.case import Case, Point, digits, largest, smallest
from normlab.explain.finding import Cure, Evidence, Finding

LOGIT, SHARE = "attention/max_logit", "attention/entropy_share"
#: Logits count as run away above this, a tenth of where harm is certain, if they also grew so much.
HIGH, GROWN = 100.0, 10.0
#: Zhai et al. 2023: entropy under a tenth of ln T precedes divergence.
COLLAPSED = 0.1
ZHAI = "Zhai et al. 2023, arXiv 2303.06296"
SWIN, OLMO = "Liu et al. 2021 (Swin v2), arXiv 2111.09883", "OLMo 2 2024, arXiv 2501.00656"


def saturates(case: Case) -> Finding | None:
    """Attention logits passed `HIGH` and grew, or its entropy collapsed, no later than the trouble."""
    until = _until(case)
    away = [point for point in case.families(LOGIT, until) if _ran_away(case, point)]
    blind = [point for point in case.families(SHARE, until) if point.value < COLLAPSED]
    # Of the layers in which it was first seen, the furthest gone.
    high = min(away, key=lambda point: (point.step, -point.value), default=None)
    low = min(blind, key=lambda point: (point.step, point.value), default=None)
    signs = [point for point in (high, low) if point is not None]
    if not signs:
        return None
    sign = min(signs, key=lambda point: point.step)
    evidence = [*_logits(case, high, until), *_entropy(case, low, until)]
    bare = [] if high is None else _bare_stream(case, high)
    claim = f"Attention's logits ran away, first in {sign.place}."
    if low is not None:
        claim = f"Attention saturated, first in {low.place}: a softmax that sees next to one token passes "
        claim += "little gradient on."
    claim = claim if sign.step > 0 else f"{claim} It was so before any training."
    if bare and high is not None:
        claim = (
            "Attention reads the stream without a norm, so its logits (a product of two readings of it) grow "
            f"with it; they ran away first in {high.place}."
        )
    harm = case.config.divergence.logit_growth.limit
    peak = largest(case.families(LOGIT, until))
    # What was so at the first look has not moved; something else made it so.
    fell = low is not None and low != case.first(low.metric)
    far = fell or (high is not None and peak is not None and peak.value >= harm)
    return Finding(
        claim=claim,
        evidence=[*evidence, *bare],
        cures=_cures(case, bool(bare), sign.step),
        source=f"{cures.WORTSMAN}, section 3.1 (harm from logits of 1e3, all above 1e4 diverged); {ZHAI}",
        strength="shown" if far and sign.step <= case.onset else "likely",
        step=sign.step,
        after=_look_before(case, sign),
    )


def _look_before(case: Case, sign: Point) -> int:
    """The measurement before the one that showed it; -1 where that was the first."""
    return max((point.step for point in case.series(sign.metric) if point.step < sign.step), default=-1)


def _until(case: Case) -> int:
    """Signs must come before the trouble, or with the first measurement after it began."""
    later = [point.step for point in case.families(LOGIT) if point.step >= case.onset]
    return min(later, default=case.onset)


def _ran_away(case: Case, point: Point) -> bool:
    start = case.first(point.metric)
    return start is not None and point.value > HIGH and point.value > GROWN * abs(start.value)


def _logits(case: Case, high: Point | None, until: int) -> list[Evidence]:
    if high is None:
        return []
    start, peak = case.first(high.metric), largest(case.families(LOGIT, until))
    assert start is not None
    assert peak is not None
    text = (
        f"the largest attention logit of {high.place} was {digits(start.value)} at step {start.step} and "
        f"{digits(high.value)} at step {high.step}"
    )
    if peak.value > 1.5 * high.value:
        text += f"; the most by step {peak.step} was {digits(peak.value)}, in {peak.place}"
    return [Evidence(text, high)]


def _entropy(case: Case, low: Point | None, until: int) -> list[Evidence]:
    lowest = low or smallest(case.families(SHARE, until))
    start = case.first(f"{SHARE}/{lowest.place}") if lowest is not None else None
    if lowest is None or start is None or (low is None and lowest.value > 0.5 * start.value):
        return []
    share, most = f"{100 * lowest.value:.2g} %", "of the entropy there can be"
    if lowest == start:
        text = f"attention in {lowest.place} had {share} {most} at the first look (step {start.step})"
    else:
        text = f"attention in {lowest.place} fell from {100 * start.value:.0f} % {most} (step {start.step}) "
        text += f"to {share} (step {lowest.step})"
    return [Evidence(text, lowest)]


def _bare_stream(case: Case, high: Point) -> list[Evidence]:
    """Where nothing is between the stream and the logits: the stream beside them."""
    record = case.sublayer(high.place, 0)
    normed = (record.norm_in or record.norm_post) and case.config.norm.name != "identity"
    if normed or record.qk_norm != "none" or record.cosine:
        return []
    # What the last block adds, no attention reads.
    read = case.depth_at("stream/rms", high.step)[:-1]
    if len(read) < 2 or read[-1].value < 2 * read[0].value:
        return []
    first, last = read[0], read[-1]
    text = (
        f"the stream that attention reads without a norm grew over depth from {digits(first.value)} (after "
        f"{first.place}) to {digits(last.value)} (after {last.place}, which {case.layers[-1]} reads) at step "
        f"{last.step}"
    )
    power = _power(case, high.step)
    if power is not None:
        text += f"; over the layers, logits go as its power {power:.1f}"
    return [Evidence(text, last)]


def _power(case: Case, step: int) -> float | None:
    """Slope of log(largest logit) against log(rms of the stream that the layer reads), over the layers."""
    streams = {point.place: point.value for point in case.depth_at("stream/rms", step)}
    read = dict(zip(case.layers[1:], case.layers, strict=False))
    pairs = [
        (math.log(streams[read[point.place]]), math.log(point.value))
        for point in case.depth_at(LOGIT, step)
        if point.value > 0 and streams.get(read.get(point.place, ""), 0.0) > 0
    ]
    if len(pairs) < 3:
        return None
    mean_x, mean_y = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in pairs)
    return sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread if spread > 0.1 else None


def _cures(case: Case, bare: bool, step: int) -> list[Cure | None]:
    support = (
        cures.elsewhere(
            "res_post, rate 3e-2, 160 steps", "2.59 nats with, and logits of 8; 2.74 and above 30,000 without"
        )
        if bare
        else cures.elsewhere(
            "Pre-LN, rate 1e-1, 160 steps", "2.90 nats with, 2.97 without: the rate matters more"
        )
    )
    source = f"{SWIN}; {OLMO}" if bare else f"Henry et al. 2020, arXiv 2010.04245; {cures.WORTSMAN}"
    sigma = Cure(
        meaning="keep every matrix's largest singular value learned and bounded (sigmaReparam)",
        words=("placement.weights=sigma_reparam",),
        support="Zhai et al. train without warm-up, decay or layer norm with it; not checked with normlab",
        source=ZHAI,
    )
    free = case.config.placement.weights == "free"
    # At the initial weights no rate has done anything yet.
    rate = cures.gentle_rate(case) if step > 0 else None
    norm = cures.qk_norm(case, support, source)
    return [norm, rate, sigma if free else None] if bare else [rate, norm, sigma if free else None]
