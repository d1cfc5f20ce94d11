"""Diagnoses from the output: logits that drift as a whole, and a spike that is the text's."""

from normlab.explain import cures
from normlab.explain.case import Case, digits, largest
from normlab.explain.finding import Evidence, Finding
from normlab.explain.usual import usual
from normlab.terminal.wording import counted

LOG_Z, TAIL = "output/log_z", "output/loss_p99"
#: log Z this far from its start counts as adrift; healthy runs here stay within 3.
DRIFT = 15.0
#: A spike is the text's if its step's gradient is within this factor of the usual one, and if it is short.
USUAL, SHORT = 4.0, 5


def drifts(case: Case) -> Finding | None:
    """The logits' normalizer left its start far behind before the trouble."""
    points = [point for point in case.series(LOG_Z) if point.step <= case.onset]
    if not points:
        return None
    far = [point for point in points if abs(point.value - points[0].value) > DRIFT]
    if not far:
        return None
    peak = largest(far)
    assert peak is not None
    return Finding(
        claim="The output's logits drifted as a whole.",
        evidence=[
            Evidence(
                f"log Z was {digits(points[0].value)} at step {points[0].step}, {digits(far[0].value)} "
                f"at step {far[0].step} and at most {digits(peak.value)} (step {peak.step})",
                far[0],
            )
        ],
        cures=[cures.z_loss(case, "Wortsman et al. train at higher rates with it; not checked with normlab")],
        source=f"{cures.WORTSMAN}, section 3.2",
        strength="likely",
        step=far[0].step,
    )


def odd_batch(case: Case) -> Finding | None:
    """Loss spikes that are over at once, with gradients as ever: single odd batches of the text."""
    spikes = [event for event in case.of_kind("spike") if event["metric"] == "loss"]
    if case.outcome != "spiked" or not spikes:
        return None
    evidence = []
    for event in spikes:
        step, took = int(event["step"]), event.get("recovery_steps")
        before = usual(case, "grad_norm/global", step)
        now = case.at("grad_norm/global", step)
        if took is None or took > SHORT or before is None or now is None or now.step != step:
            return None
        if now.value > USUAL * before.middle:
            return None
        text = (
            f"at step {step} the loss was {digits(float(event['value']))} for "
            f"{counted(took, 'step')}, with a gradient of {digits(now.value)}, "
            f"{now.value / before.middle:.1f} times the usual"
        )
        evidence.append(Evidence(text, now))
    return Finding(
        claim="Single odd batches: the loss jumped and came back, and the gradients stayed as ever.",
        evidence=evidence,
        source="Chowdhery et al. 2022 (PaLM), arXiv 2204.02311, section 5.1: the same batches are harmless "
        "elsewhere",
        strength="likely",
        step=int(spikes[0]["step"]),
    )
