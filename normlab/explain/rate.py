"""Diagnosis from the size of steps: a rate too high for the weights."""

from statistics import median

from normlab.explain import cures
from normlab.explain.case import Case, digits
from normlab.explain.finding import Evidence, Finding

RATIO = "update/ratio"
#: A step that changes a layer's weights by this share of their norm is large; healthy runs here have 0.03 in
#: the first step of Adam and 0.005 later.
LARGE = 0.2
#: From here on one step settles it: the new weights are mostly the step.
HUGE = 0.5
#: A rate this many times the full one is none that the settings ask for.
BEYOND = 1.5


def too_high(case: Case) -> Finding | None:
    """Most layers were changed by a fifth of their norm or more in single steps, before the trouble."""
    steps = sorted({point.step for point in case.families(RATIO) if point.step <= case.onset})
    by_step = {step: case.depth_at(RATIO, step) for step in steps}
    large = [step for step in steps if median(point.value for point in by_step[step]) >= LARGE]
    if not large:
        return None
    step, rate = large[0], case.at("lr", large[0])
    if rate is None or rate.value > BEYOND * case.config.optimizer.lr:
        return None
    middle = median(point.value for point in by_step[step])
    most = max(by_step[step], key=lambda point: point.value)
    evidence = [
        Evidence(
            f"one step changed the weights of the median layer by {100 * middle:.0f} % of their norm "
            f"(step {step}; most in {most.place}, {100 * most.value:.0f} %); healthy runs have 3 % in the "
            "first step of Adam and 0.5 % later",
            most,
        )
    ]
    evidence.append(Evidence(f"the learning rate was {digits(rate.value)} then", rate))
    often = len(large) > 1
    if often:
        text = (
            f"so it was at {len(large)} of the {len(steps)} steps up to step {case.onset} that were measured"
        )
        evidence.append(Evidence(text))
    what = "Steps were" if often else "The first step was" if step == 0 else f"Step {step} was"
    return Finding(
        claim=f"{what} too large for these weights.",
        evidence=evidence,
        # No warm-up: Pre-LN at 1e-1 ends at 2.97 nats with 53 steps of it and without.
        cures=[cures.gentle_rate(case)],
        source="WeSaR, arXiv 2410.05052, ties large and uneven ratios of update to weights to spikes",
        strength="shown" if often or middle >= HUGE else "likely",
        step=step,
    )
