"""Diagnoses from the gradients of layers: what dies on its way down."""

from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.explain import cures
from normlab.explain.case import Case, Point, digits, earliest
from normlab.explain.finding import Cure, Evidence, Finding

FIRST_TO_LAST = "grad_norm/first_to_last"
#: A first layer's gradient this small beside the last one's, and this much smaller than at the start.
SMALL, FALL = 0.01, 100.0


def dies_on_its_way_down(case: Case) -> Finding | None:
    """The gradient of the first block falls by orders of magnitude beside the last block's."""
    start = case.first(FIRST_TO_LAST)
    if start is None or case.config.depth < 2:
        return None
    limit = min(SMALL, start.value / FALL)
    low = earliest([point for point in case.series(FIRST_TO_LAST) if point.value < limit])
    if low is None or low.step > case.onset:
        return None
    end = case.at(FIRST_TO_LAST, case.last)
    assert end is not None
    said = (
        f"the first block's gradient was {digits(start.value)} of the last block's at step {start.step}, "
        f"{digits(low.value)} at step {low.step}, and {digits(end.value)} at step {end.step}"
    )
    evidence = [
        Evidence(said, low),
        *_swallowed(case),
        *_branches(case, low.step),
        *_rate(case, low.step),
    ]
    posts = case.sublayer("layer_00", 0).norm_post
    where = " through the norms on the stream" if posts else ""
    return Finding(
        claim=f"The gradient dies out on its way down{where}, so the lower blocks stopped learning.",
        evidence=evidence,
        cures=_cures(case),
        source=f"{cures.XIONG}; Liu et al. 2020 (Admin), arXiv 2004.08249",
        step=low.step,
    )


def _swallowed(case: Case) -> list[Evidence]:
    """When gradients became too small for the optimizer's step."""
    factor = case.config.divergence.vanishing.factor
    found = []
    for event in case.of_kind("vanishing"):
        layers, step = event.get("layers") or [], case.began(event)
        if layers:
            point = Point(step, float(event["value"]), str(layers[0]), str(event["metric"]))
            least = OPTIMIZERS[case.config.optimizer.name].least(case.config.optimizer)
            names = " or ".join(each.name for each in least)
            text = f"gradients fell under {factor:g} times {names}: {layers[0]} from step {step} on"
            text += f", {len(layers)} places up to {layers[-1]} by the end" if len(layers) > 1 else ""
            if all(each.is_eps for each in least):
                text += (
                    "; a sign rather than the cause: post at normlab's defaults is stuck with eps=1e-15 too"
                )
            found.append(Evidence(text, point))
    updates = case.series("update/ratio/layer_00")
    if updates and updates[-1].value < updates[0].value / 10:
        text = (
            f"a step changed the weights of layer_00 by {digits(updates[0].value)} of their norm at step "
            f"{updates[0].step}, and by {digits(updates[-1].value)} at step {updates[-1].step}"
        )
        found.append(Evidence(text, updates[-1]))
    return found


def _branches(case: Case, step: int) -> list[Evidence]:
    """How large the branches had become beside the skip that a post norm then shrinks."""
    points = case.series("stream/branch_ratio/layer_00/ffn")
    if not points or not case.sublayer("layer_00", 1).norm_post:
        return []
    start = points[0]
    later = next((point for point in points if point.step >= step), points[-1])
    if later.value < 1.5 * start.value:
        return []
    text = (
        f"layer_00's feed-forward branch grew from {digits(start.value)} of the skip (step {start.step}) "
        f"to {digits(later.value)} (step {later.step}); a norm after the sum divides the skip by "
        "about sqrt(1 + ratio^2)"
    )
    return [Evidence(text, later)]


def _rate(case: Case, step: int) -> list[Evidence]:
    rate = case.at("lr", step)
    if rate is None:
        return []
    full = case.config.optimizer.lr
    text = f"the learning rate was at {digits(rate.value)} then"
    text += (
        f", its full height from the first step on (warmup={case.config.warmup})"
        if case.config.warmup == 0
        else f", {digits(rate.value / full)} of its height (warmup={case.config.warmup})"
    )
    return [Evidence(text, rate)]


def _cures(case: Case) -> list[Cure | None]:
    post = case.sublayer("layer_00", 0).norm_post
    if not post:
        return [cures.smaller_rate(case, 4, "a smaller step undoes less; not checked with normlab")]
    return [
        cures.warmup(
            case,
            cures.elsewhere(
                "Post-LN, rate 2.5e-3", "stuck at 3.17 nats without, 2.38 with 100 steps of warm-up"
            ),
        ),
        cures.placement(
            case,
            "deepnorm",
            "DeepNorm: a larger skip and smaller branches",
            cures.elsewhere("rate 2.5e-3, no warm-up, 160 steps", "2.39 nats; 3.16 with Post-LN"),
            cures.DEEPNET,
        ),
        cures.placement(
            case,
            "pre",
            "Pre-LN: norms before the sub-layers",
            cures.elsewhere("rate 2.5e-3, no warm-up", "2.34 nats; 3.17 with Post-LN"),
            cures.XIONG,
        ),
        cures.smaller_rate(
            case,
            4,
            cures.elsewhere(
                "Post-LN, no warm-up, 200 steps", "2.42 nats at a rate of 6.3e-4, 3.14 at 2.5e-3"
            ),
            cures.XIONG,
        ),
    ]
