"""Diagnoses of accidents: the rate of one step, one layer's gradient, a place that is left out."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from normlab.explain import cures, faults
from normlab.explain.case import Case, Point, digits
from normlab.explain.finding import Evidence, Finding
from normlab.explain.rate import BEYOND
from normlab.explain.usual import usual
from normlab.terminal.wording import counted

#: A rate this many times that of the row before has jumped.
JUMP = 10.0
PREFIX, GLOBAL = "grad_norm/", "grad_norm/global"


def jumped(case: Case) -> Finding | None:
    """The rate of one step was many times that of the step before; no schedule does that."""
    rates, full = case.series("lr"), case.config.optimizer.lr
    # A warm-up may rise by as much from one logged row to the next, but never above the full rate.
    jumps = [(old, new) for old, new in pairwise(rates) if new.value > max(JUMP * old.value, BEYOND * full)]
    found = next(iter(jumps), None)
    if found is None:
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
        claim="The learning rate itself jumped, as no schedule has it.",
        evidence=[*evidence, *injected.evidence],
        cures=injected.cures,
        source="measured in this run",
        step=new.step,
    )


def one_layer_jumped(case: Case) -> Finding | None:
    """The gradient of one place rose by itself, as the detector `spike` saw it."""
    found = ((event, place) for event in case.of_kind("spike") if (place := _alone(case, event)))
    event, place = next(found, (None, ""))
    if event is None:
        return None
    step, took = int(event["step"]), event["recovery_steps"]
    at_once = took == 1
    injected = faults.injected(case, "gradient_scale", step=step)
    return Finding(
        claim=f"One step's gradient was wrong in {place} alone: a fault there, not the whole model's."
        if at_once
        else f"The gradient of {place} rose far above its usual and no other's did: it began there.",
        evidence=[_risen(case, event, place), *injected.evidence],
        cures=injected.cures
        or [
            cures.clipping(
                case,
                "bounds what one bad gradient can do; not checked here",
                "Pascanu et al. 2013, arXiv 1211.5063",
            ),
        ],
        source="measured in this run",
        strength="shown" if at_once else "likely",
        step=step,
    )


def _alone(case: Case, event: Mapping[str, Any]) -> str:
    """The one place whose gradient an event is about; empty where there is none, or more."""
    metric, order = str(event["metric"]), event["order"]
    if metric not in ("loss", GLOBAL):
        return metric.removeprefix(PREFIX) if metric.startswith(PREFIX) else ""
    if not order:
        return event["layers"][0] if len(event["layers"]) == 1 else ""
    if not all(each["metric"].startswith(PREFIX) for each in order):
        return ""
    ratios = {each["place"]: each["ratio"] for each in order}
    place = max(ratios, key=ratios.__getitem__)
    least = ratios.pop(place) / case.config.divergence.spike.alone_ratio
    return place if all(ratio < least for ratio in ratios.values()) else ""


def _risen(case: Case, event: Mapping[str, Any], place: str) -> Evidence:
    """How far, by the event's own figure where it has one."""
    key = f"{PREFIX}{place}"
    point = case.at(key, int(event["step"])) or Point(int(event["step"]), event["value"], place, key)
    known = [each for each in event["order"] if each["metric"] == key and each["step"] == point.step]
    own = usual(case, key, point.step)
    times = ""
    if known:
        times = f", {digits(known[0]['ratio'])} times its usual"
    elif own is not None:
        times = f", {digits(point.value / own.middle)} times its median of the {own.rows or 1} rows before"
    text = f"at step {point.step} the gradient of {place} was {digits(point.value)}{times}"
    others = [each for each in event["order"] if each["place"] != place]
    text += f"; next is {others[0]['place']}, {digits(others[0]['ratio'])} times" if others else ""
    text += "" if others else "; no other place left its usual range"
    took = event["recovery_steps"]
    text += f"; it was back after {counted(took, 'step')}" if took else ""
    return Evidence(text, point)


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
        claim=f"{layers} learnt nothing from step {case.began(event)} on: a parameter is frozen, or out of "
        "the optimizer's reach.",
        evidence=[*evidence, *injected.evidence],
        cures=injected.cures,
        source="measured in this run",
        strength="likely",
        step=case.began(event),
    )
