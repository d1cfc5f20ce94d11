"""What happened to a run, in sentences."""

import re
from collections.abc import Mapping
from typing import Any

from normlab.divergence.outcome import UNTRAINED
from normlab.explain.case import Case
from normlab.terminal.wording import against, fixed

_MOST = 3


def story(case: Case) -> list[str]:
    """The outcome with its numbers, the loss among the floors of the text, the first events."""
    return [_outcome(case), *_losses(case), *_events(case)]


def _outcome(case: Case) -> str:
    event, step = case.decisive, case.onset
    before = case.before("loss", step)
    words = {
        "stable": "Nothing happened: no detector saw an instability of the loss.",
        "stuck": f"The run got stuck: from step {step} on the loss no longer fell.",
        UNTRAINED: f"Nothing was learnt of the context in {case.last + 1} steps; whether the run would stay "
        "there, it is too short to tell.",
        "exploded": f"The loss rose from step {step} on and did not come back.",
        "spiked": f"The loss jumped at step {step}.",
        "nonfinite": f"At step {step} a number was not finite"
        + ("." if before is None else f"; the loss was {fixed(before.value, 3)} at step {before.step}."),
    }
    if event is not None and case.outcome == "spiked" and event["kind"] == "nonfinite":
        words["spiked"] = f"At step {step} a number was not finite, and the run went on."
    elif event is not None and case.outcome == "spiked":
        back = f"was back at step {event['end']}" if event["recovered"] else "had not come back by the end"
        words["spiked"] = f"The loss jumped at step {step} and {back}."
    told = words.get(case.outcome, f"The outcome is {case.outcome}.")
    if case.outcome == "stable" and case.events:
        told = "No detector saw an instability of the loss, but detectors saw something else."
    if event is not None and event["kind"] == "nonfinite" and event.get("layers"):
        told += "" if case.outcome in ("nonfinite", "spiked") else f" At step {step} a number was not finite."
        told += f" It began in {event['layers'][0]}."
    status = case.known.status
    if status not in ("finished", "unknown"):
        told += f" The run is {status}: its last row is step {case.last}."
    return told


def _losses(case: Case) -> list[str]:
    losses = case.series("loss")
    if not losses:
        return ["No loss was finite."]
    final = case.loss(case.last)
    best = min(case.loss(point.step) for point in losses[:: max(1, len(losses) // 200)])
    told = f"The loss went from {fixed(losses[0].value, 3)} (step {losses[0].step}) to {fixed(final, 3)}"
    told += f" {case.end}"
    told += f", best {fixed(min(best, final), 3)}" if min(best, final) < final - 0.02 else ""
    beside = against(final, case.floors)
    found = [f"{told}: {beside}." if beside else f"{told}."]
    unigram, tolerance = case.floors.get("unigram"), case.config.divergence.plateau.tolerance
    if unigram is not None and abs(final - unigram) <= tolerance:
        yet = " yet" if case.outcome in ("stable", UNTRAINED) else ""
        found.append(
            f"Within {tolerance:g} nat of the unigram entropy: it has learnt how often each token occurs, "
            f"and hardly more{yet}."
        )
    return found


def _events(case: Case) -> list[str]:
    told = [_event(event) for event in case.events[:_MOST]]
    more = len(case.events) - _MOST
    return [*told, *([f"and {more} more, in events.jsonl"] if more > 0 else [])]


def _event(event: Mapping[str, Any]) -> str:
    message = _short(str(event.get("message") or event["metric"]))
    layers = event.get("layers") or []
    first, *more = message.split("; ")
    # Places that followed, one step after the other, are a long list.
    followed = [part for part in more if re.search(r" from step \d+$", part)]
    rest = [part for part in more if part not in followed]
    rest += [f"{len(layers)} places in the end"] if followed else []
    return f"step {event['step']}, {event['kind']}: " + "; ".join([first, *rest])


def _short(message: str) -> str:
    """Long lists of layers are cut."""

    def cut(found: re.Match[str]) -> str:
        layers = found[0].split(", ")
        return f"{layers[0]}, {layers[1]} and {len(layers) - 2} more"

    return re.sub(r"layer_\d+(, layer_\d+){3,}", cut, message)
