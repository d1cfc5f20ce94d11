"""Diagnoses from the size of steps: a rate too high from the start, one that jumped."""

from itertools import pairwise
from statistics import median

from normlab.explain import cures
from normlab.explain.case import Case, digits, earliest
from normlab.explain.finding import Evidence, Finding

RATIO = "update/ratio"
#: A step that changes a layer's weights by this share of their norm is large; healthy runs here have 0.03 in
#: the first step of Adam and 0.005 later.
LARGE = 0.2
#: A rate so many times that of the step before jumped.
JUMP = 10.0


def too_high(case: Case) -> Finding | None:
    """Most layers were changed by a fifth of their norm or more in single steps, before the trouble."""
    steps = sorted({point.step for point in case.families(RATIO) if point.step <= case.onset})
    by_step = {step: case.depth_at(RATIO, step) for step in steps}
    large = [step for step in steps if median(point.value for point in by_step[step]) >= LARGE]
    if not large:
        return None
    step = large[0]
    middle = median(point.value for point in by_step[step])
    most = max(by_step[step], key=lambda point: point.value)
    evidence = [
        Evidence(
            f"one step changed the weights of the median layer by {100 * middle:.0f} % of their norm "
            f"(step {step}; most in {most.place}, {100 * most.value:.0f} %)",
            most,
        )
    ]
    rate = case.at("lr", step)
    if rate is not None:
        evidence.append(Evidence(f"the learning rate was {digits(rate.value)} then", rate))
    often = len(large) > 1
    if often:
        text = (
            f"so it was at {len(large)} of the {len(steps)} steps up to step {case.onset} that were measured"
        )
        evidence.append(Evidence(text))
    what = "The steps were" if often else "The first steps were" if step == 0 else f"Step {step} was"
    return Finding(
        claim=f"{what} too large for these weights: much of what they were was undone.",
        evidence=evidence,
        cures=[
            cures.smaller_rate(case, 10, "RATE_SUPPORT"),
            cures.warmup(case, "the first steps of Adam are its largest beside the weights")
            if step < 50
            else None,
        ],
        source="WeSaR, arXiv 2410.05052, ties large and uneven ratios of update to weights to spikes",
        strength="shown" if often else "likely",
        step=step,
    )


def jumped(case: Case) -> Finding | None:
    """The rate of one step was many times that of the step before; no schedule does that."""
    rates = case.series("lr")
    pairs = [(old, new) for old, new in pairwise(rates) if old.value > 0]
    # The first steps of a warm-up double and treble the rate.
    found = next((pair for pair in pairs if pair[1].value > JUMP * pair[0].value), None)
    if found is None or found[1].step > case.onset:
        return None
    old, new = found
    back = next((point for point in rates if point.step > new.step), None)
    text = f"the learning rate went from {digits(old.value)} (step {old.step}) to {digits(new.value)} "
    text += f"(step {new.step})"
    if back is not None and back.value < new.value / JUMP:
        text += f" and back to {digits(back.value)} (step {back.step})"
    before, after = case.loss(old.step), case.series("loss")
    later = earliest([point for point in after if point.step > new.step])
    evidence = [Evidence(text, new)]
    if later is not None:
        text = f"the loss was {before:.3f} up to step {old.step}, {digits(later.value)} at step {later.step}"
        evidence.append(Evidence(text, later))
    return Finding(
        claim="The learning rate itself jumped; one such step is enough to throw the weights away.",
        evidence=evidence,
        source="measured in this run",
        step=new.step,
    )
