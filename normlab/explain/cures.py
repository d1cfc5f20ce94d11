"""What the literature does about trouble: each gives None where the run has it already, or it cannot help.

`support` says where its number is from: the paper, or other runs of normlab, by `elsewhere`.
"""

from statistics import median

from normlab.explain.case import Case, digits
from normlab.explain.finding import Cure

WORTSMAN = "Wortsman et al. 2023, arXiv 2309.14322"
XIONG = "Xiong et al. 2020, arXiv 2002.04745"
DEEPNET = "Wang et al. 2022 (DeepNet), arXiv 2203.00555"
#: What healthy runs change of their weights in the first step.
HEALTHY = 0.03
#: A warm-up over this share of the steps counts as long enough.
LONG = 1 / 3


def elsewhere(model: str, found: str, layers: int = 12) -> str:
    """What runs of normlab of another model gave, which need not be so of this one: width 64, AdamW, the
    default text, seed 0, 300 steps unless said otherwise.
    """
    return f"elsewhere ({layers} layers, {model}): {found}"


#: What a smaller rate did.
RATE = elsewhere("Pre-LN, AdamW, 160 steps", "2.97 nats at a rate of 1e-1, 2.51 at 2.5e-3")


def warmup(case: Case, support: str, source: str = XIONG) -> Cure | None:
    """A third of the steps, where the run had less."""
    steps = case.config.train.steps
    wanted = max(round(steps * LONG), 1)
    if case.config.warmup >= wanted:
        return None
    return Cure(
        meaning=f"warm the rate up over {wanted} steps",
        words=(f"warmup={wanted}",),
        support=support,
        source=source,
    )


def smaller_rate(case: Case, factor: float, support: str, source: str = WORTSMAN) -> Cure:
    rate = float(f"{case.config.optimizer.lr / factor:.2g}")
    return Cure(
        meaning=f"a rate {digits(factor)} times smaller",
        words=(f"optimizer.lr={rate:g}",),
        support=support,
        source=source,
    )


def gentle_rate(case: Case) -> Cure:
    """The rate at which the first step of this run would have been as small as in healthy ones.

    Adam's first step changes weights by a share of their norm that goes as the rate.
    """
    ratios = [point for point in (case.first(f"update/ratio/{layer}") for layer in case.layers) if point]
    first = median(point.value for point in ratios) if ratios else 10 * HEALTHY
    return smaller_rate(case, max(float(f"{first / HEALTHY:.1g}"), 3.0), RATE)


def placement(case: Case, name: str, meaning: str, support: str, source: str) -> Cure | None:
    if case.config.placement.name == name:
        return None
    return Cure(meaning=meaning, words=(f"placement={name}",), support=support, source=source)


def qk_norm(case: Case, support: str, source: str) -> Cure | None:
    """Norms of queries and keys, where there are none and the norm type is one."""
    record = case.sublayer("layer_00", 0)
    if record.qk_norm != "none" or record.cosine or case.config.norm.name == "identity":
        return None
    return Cure(
        meaning="norm each head's queries and keys",
        words=("placement.qk_norm=head",),
        support=support,
        source=source,
    )


def clipping(case: Case, support: str, source: str) -> Cure | None:
    if case.config.train.clip is not None:
        return None
    return Cure(
        meaning="clip the gradient at norm 1", words=("train.clip=1",), support=support, source=source
    )


def z_loss(case: Case, support: str) -> Cure | None:
    if case.config.train.z_loss:
        return None
    return Cure(
        meaning="hold log Z down with a small extra loss",
        words=("train.z_loss=1e-4",),
        support=support,
        source=f"Chowdhery et al. 2022 (PaLM), arXiv 2204.02311; {WORTSMAN}, section 3.2",
    )
