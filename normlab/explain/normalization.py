"""Diagnoses of the norm type: predictions that see the future, and two modes that differ."""

from normlab.catalogue.norms import NORMS, leak, leak_in_evaluation
from normlab.explain.case import Case, Point
from normlab.explain.finding import Cure, Evidence, Finding

EVAL_LOSS = "batchnorm/loss_eval"
#: Evaluation this far above training, in nats, is no noise of a few batches.
GAP = 0.3
SHEN = "Shen et al. 2020, arXiv 2003.07845; Wang et al. 2022, arXiv 2210.05153"


def sees_the_future(case: Case) -> Finding | None:
    """A norm whose statistics mix later tokens in: its losses are no language model's."""
    norm, objective = case.config.norm, case.config.data.objective
    why = leak(norm, objective)
    if not why:
        return None
    known = case.floors.get("bigram")
    end = Point(case.last, case.loss(case.last), "", "loss")
    evidence = [Evidence(f"norm={norm.name}: {why}", None)]
    said = f"the training loss was {end.value:.3f} {case.end}"
    if known is not None:
        side = "below" if end.value < known else "above"
        said += f", {abs(end.value - known):.2f} nat {side} the bigram entropy ({known:.3f})"
    evidence.append(Evidence(said, end))
    seen = case.series("val/loss")
    if seen:
        gap = seen[-1].value - case.loss(seen[-1].step)
        side = "above" if gap >= 0 else "below"
        text = f"validation gave {seen[-1].value:.3f} at step {seen[-1].step}, {abs(gap):.2f} {side} training"
        evidence.append(Evidence(text, seen[-1]))
    both = leak_in_evaluation(norm, objective)
    what = "The training and validation losses" if both else "The training loss"
    return Finding(
        claim=f"{what} cannot be trusted: the norm lets predictions see later tokens.",
        evidence=evidence,
        cures=[_causal()],
        source=SHEN,
        strength="beside",
    )


def _causal() -> Cure:
    return Cure(
        meaning="a norm of each token by itself",
        words=("norm=layernorm",),
        support="no output changes when later tokens do, in normlab's tests of every norm",
        source="Ba et al. 2016, arXiv 1607.06450",
    )


def modes_differ(case: Case) -> Finding | None:
    """Running statistics do not fit what training saw: the same weights do far worse in evaluation."""
    if not NORMS[case.config.norm.name].running:
        return None
    same = case.series(EVAL_LOSS)
    points = same or case.series("val/loss")
    gaps = [(point, point.value - case.loss(point.step)) for point in points]
    wide = [(point, gap) for point, gap in gaps if gap > GAP]
    if not wide:
        return None
    point, gap = max(wide, key=lambda pair: pair[1])
    last, final = gaps[-1]
    what = "the same batch in evaluation mode" if same else "validation, which uses running statistics,"
    text = (
        f"{what} gave {point.value:.3f} nats at step {point.step}, {gap:.2f} above training; at step "
        f"{last.step} the gap was {final:.2f}"
    )
    evidence = [Evidence(text, point)]
    for key in case.layers:
        means = case.series(f"batchnorm/mean_gap/{key}")
        if means and means[-1].value > 1:
            said = f"in {key} batch means lie {means[-1].value:.1f} running deviations off"
            evidence.append(Evidence(said, means[-1]))
            break
    when = "are" if final > GAP else "were for a while"
    return Finding(
        claim=f"Training and evaluation {when} two models: running statistics did not fit the batches.",
        evidence=evidence,
        cures=[_causal()],
        source=SHEN,
        strength="shown",
        step=wide[0][0].step,
    )
