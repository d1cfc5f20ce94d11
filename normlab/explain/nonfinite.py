"""Diagnoses of numbers that are not finite: broken in one step, or outgrown after all else had run away."""

import math

from normlab.explain import cures, faults
from normlab.explain.case import Case, Point, digits
from normlab.explain.finding import Evidence, Finding
from normlab.explain.usual import usual

#: A gradient within this factor of its usual size gave no warning.
USUAL = 8.0
#: Numbers of an ordinary size: far from where float32 (3.4e38) or bfloat16 products overflow.
ORDINARY = 1e15
GLM = "Zeng et al. 2022 (GLM-130B), arXiv 2210.02414"


def broke_at_once(case: Case) -> Finding | None:
    """Not finite at one step, from numbers of an ordinary size and without a warning."""
    event = next(iter(case.of_kind("nonfinite")), None)
    if event is None:
        return None
    step = int(event["step"])
    before = usual(case, "grad_norm/global", step)
    low, high = (_number(case, step, f"nonfinite/input_{end}") for end in ("min", "max"))
    inputs = max((abs(value) for value in (low, high) if value is not None), default=None)
    if before is None or before.times > USUAL or (inputs is not None and inputs > ORDINARY):
        return None
    place = _origin(case, event)
    local = _only_there(case, step)
    evidence = [*_where(case, event, low, high), *local]
    loss = case.before("loss", step)
    beside = f", and the loss {loss.value:.3f}" if loss else ""
    evidence.append(
        Evidence(
            f"the gradient was {digits(before.last.value)} at step {before.last.step}, {before.times:.1f} "
            f"times its usual size{beside}: no sign before",
            before.last,
        )
    )
    if event.get("recovered"):
        text = f"all was finite again at step {event['end']}; the step's update was not applied"
        evidence.append(Evidence(text, Point(int(event["end"]), 0.0, "", str(event["metric"]))))
    injected = faults.injected(case, "nan_activation", "nan_gradient", step=step)
    where = f" in {place}" if place else ""
    return Finding(
        claim=f"Something broke{where} in one step: no instability led up to it, so look for a fault in the "
        "computation (code, kernel, memory), not in the training.",
        evidence=[*evidence, *injected.evidence],
        cures=injected.cures,
        source="measured in this run",
        strength="shown" if inputs is not None or local else "likely",
        step=step,
    )


def overflowed(case: Case) -> Finding | None:
    """Not finite after numbers, or gradients, had grown out of all bounds."""
    event = next(iter(case.of_kind("nonfinite")), None)
    if event is None:
        return None
    step = int(event["step"])
    low, high = (_number(case, step, f"nonfinite/input_{end}") for end in ("min", "max"))
    inputs = max((abs(value) for value in (low, high) if value is not None), default=0.0)
    before = usual(case, "grad_norm/global", step)
    grown = before is not None and before.times > USUAL
    if inputs <= ORDINARY and not grown:
        return None
    evidence = [*_where(case, event, low, high)]
    if before is not None and grown:
        last = before.last
        text = f"the gradient was {digits(last.value)} at step {last.step}, {before.words}"
        evidence.append(Evidence(text, last))
    return Finding(
        claim="The numbers outgrew what a float holds, after the training had run away.",
        evidence=evidence,
        cures=[
            cures.gentle_rate(case),
            cures.clipping(
                case,
                "GLM-130B: a spike of the gradient norm comes a few steps before a collapse; "
                + cures.elsewhere("Pre-LN, SGD at 3, 150 steps", "finite with it, but at 76 nats", layers=4),
                GLM,
            ),
        ],
        source=GLM,
        strength="likely",
        step=step,
    )


def _only_there(case: Case, step: int) -> list[Evidence]:
    """A gradient that is not finite while the loss and the gradients further down are: what is not finite in
    the backward pass itself reaches every block below."""
    row = _row(case, step)
    norms = {layer: row.get(f"grad_norm/{layer}") for layer in case.layers}
    finite = {layer: math.isfinite(value) for layer, value in norms.items() if isinstance(value, float)}
    bad = [layer for layer, ok in finite.items() if not ok]
    loss = row.get("loss")
    if len(bad) != 1 or bad[0] == case.layers[0] or not isinstance(loss, float) or not math.isfinite(loss):
        return []
    text = (
        f"the loss of that step is finite, and gradients are finite in the blocks below {bad[0]}: it did not "
        "come down the backward pass"
    )
    return [Evidence(text, Point(step, loss, bad[0], f"grad_norm/{bad[0]}"))]


def _origin(case: Case, event: dict[str, object]) -> str:
    site = _word(case, int(str(event["step"])), "nonfinite/site")
    layers = event.get("layers")
    return site or (str(layers[0]) if isinstance(layers, list) and layers else "")


def _where(case: Case, event: dict[str, object], low: float | None, high: float | None) -> list[Evidence]:
    step = int(str(event["step"]))
    site, way = _word(case, step, "nonfinite/site"), _word(case, step, "nonfinite/pass")
    if not site:
        return [Evidence(f"at step {step}: {event.get('message', 'not finite')}")]
    text = f"the first number that was not finite came out of {site} at step {step}, in the {way or '?'} pass"
    if low is not None and high is not None:
        text += f", where numbers between {digits(low)} and {digits(high)} went in"
    return [Evidence(text, Point(step, high or 0.0, site.partition("/")[0], "nonfinite/site"))]


def _row(case: Case, step: int) -> dict[str, object]:
    return next((dict(row) for row in case.rows if row["step"] == step), {})


def _number(case: Case, step: int, key: str) -> float | None:
    value = _row(case, step).get(key)
    return float(value) if isinstance(value, int | float) else None


def _word(case: Case, step: int, key: str) -> str:
    value = _row(case, step).get(key)
    return value if isinstance(value, str) else ""
