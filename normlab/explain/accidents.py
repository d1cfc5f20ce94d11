"""Diagnoses of accidents: the rate of one step, one layer's gradient, a place that is left out."""

from itertools import pairwise

from normlab.explain import cures, faults
from normlab.explain.case import Case, Point, digits
from normlab.explain.finding import Evidence, Finding
from normlab.explain.rate import BEYOND
from normlab.explain.usual import BEFORE, usual_and_last

#: A rate so many times that of the row before jumped.
JUMP = 10.0
#: A layer's gradient so many times its usual one, while no other's is above the second factor, is alone.
ALONE, OTHERS = 30.0, 8.0


def jumped(case: Case) -> Finding | None:
    """The rate of one step was many times that of the step before; no schedule does that."""
    rates, full = case.series("lr"), case.config.optimizer.lr
    # A warm-up may rise by as much from one logged row to the next, but never above the full rate.
    jumps = [(old, new) for old, new in pairwise(rates) if new.value > max(JUMP * old.value, BEYOND * full)]
    found = next(iter(jumps), None)
    if found is None or found[1].step > case.onset:
        return None
    old, new = found
    back = next((point for point in rates if point.step > new.step), None)
    text = f"the learning rate went from {digits(old.value)} (step {old.step}) to {digits(new.value)} "
    text += f"(step {new.step})"
    if back is not None and back.value < new.value / JUMP:
        text += f" and back to {digits(back.value)} (step {back.step})"
    before = case.loss(old.step)
    later = next((point for point in case.series("loss") if point.step > new.step), None)
    evidence = [Evidence(text, new)]
    if later is not None:
        text = f"the loss was {before:.3f} up to step {old.step}, {digits(later.value)} at step {later.step}"
        evidence.append(Evidence(text, later))
    injected = faults.injected(case, "lr_jump", step=new.step)
    return Finding(
        claim="The learning rate itself jumped; one such step is enough to throw the weights away.",
        evidence=[*evidence, *injected.evidence],
        cures=injected.cures,
        source="measured in this run",
        step=new.step,
    )


def one_layer_jumped(case: Case) -> Finding | None:
    """In one step one layer's gradient was many times its usual size and the others' were not."""
    for event in case.of_kind("spike"):
        step = int(event["step"])
        ratios = []
        for layer in case.layers:
            usual, _ = usual_and_last(case, f"grad_norm/{layer}", step)
            now = next((p for p in case.series(f"grad_norm/{layer}") if p.step == step), None)
            if now is not None and usual > 0:
                ratios.append((now.value / usual, now))
        if len(ratios) < 3:
            continue
        (most, point), rest = max(ratios, key=lambda pair: pair[0]), sorted(pair[0] for pair in ratios)
        if most > ALONE and rest[-2] < OTHERS:
            return _alone(case, step, most, point, rest[-2])
    return None


def _alone(case: Case, step: int, most: float, point: Point, second: float) -> Finding:
    evidence = [
        Evidence(
            f"at step {step} the gradient of {point.place} was {digits(point.value)}, {digits(most)} times "
            f"its median of the {BEFORE} steps before; no other layer's was above {digits(second)} times",
            point,
        )
    ]
    injected = faults.injected(case, "gradient_scale", step=step)
    return Finding(
        claim=f"One step's gradient was wrong in {point.place} alone: a fault there, not the whole model's.",
        evidence=[*evidence, *injected.evidence],
        cures=[
            *injected.cures,
            cures.clipping(
                case,
                "bounds what one bad gradient can do; not checked here",
                "Pascanu et al. 2013, arXiv 1211.5063",
            ),
        ],
        source="measured in this run",
        step=step,
    )


def learns_nothing(case: Case) -> Finding | None:
    """A place gets no gradient or no update at all."""
    event = next(iter(case.of_kind("frozen")), None)
    if event is None:
        return None
    layers = ", ".join(map(str, event.get("layers") or [])) or "a place"
    evidence = [
        Evidence(
            f"{event['metric']} was exactly 0 from step {case.began(event)} on",
            Point(case.began(event), 0.0, str((event.get("layers") or [""])[0]), str(event["metric"])),
        )
    ]
    injected = faults.injected(case, "frozen_embedding", step=case.began(event))
    return Finding(
        claim=f"{layers} learnt nothing: a parameter is out of the optimizer's reach, or frozen.",
        evidence=[*evidence, *injected.evidence],
        cures=injected.cures,
        source="measured in this run",
        strength="likely",
        step=case.began(event),
    )
