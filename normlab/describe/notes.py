"""What is easily overlooked in a config."""

from collections.abc import Iterator

from normlab.config import RunConfig
from normlab.tables.norms import NORMS, leak
from normlab.tables.placements import PLACEMENTS

_WEIGHTS = {
    "free": "",
    "sigma_reparam": "each matrix W of the blocks acts as gamma / sigma(W) * W, sigma its largest singular "
    "value, gamma learned, 1 at the start: the initial standard deviations are those of W itself",
    "unit": "every vector along the width has length 1, from the start and after each step: the initial "
    "standard deviations are those before that",
}


def notes(config: RunConfig) -> list[str]:
    """In no more words than it takes."""
    return list(_notes(config))


def _notes(config: RunConfig) -> Iterator[str]:
    placement, row = config.placement, PLACEMENTS.get(config.placement.name)
    if row is None:
        yield f"placement={placement.name} is not one of normlab's: there is no published equation beside it"
    elif row.warmup == "yes" and not config.warmup:
        yield f"published with a warm-up, and this config has none: warmup={config.train.steps // 3}"
    leaks = leak(config.norm, config.data.objective)
    if leaks:
        running = "; evaluation uses running statistics" if NORMS[config.norm.name].running else ""
        allowed = "" if config.norm.allow_leaky else "; it trains only with norm.allow_leaky=true"
        yield f"LEAKY: {config.norm.name} lets predictions see the future in training{running}{allowed}"
    if config.data.objective == "mlm":
        yield (
            f"predicts masked tokens, {config.data.mask_rate:.0%} of each sequence: of these 80 % read as "
            "the mask token, which is one more in the vocabulary, 10 % as a random one, 10 % as they are"
        )
    if not config.model.causal:
        yield "attention is bidirectional: no causal mask"
    if not config.model.causal and config.model.positions == "none":
        yield "without positions nor a causal mask a sequence is a bag of tokens: their order changes nothing"
    if placement.gains and config.init.gains != "placement":
        yield f"init.gains={config.init.gains} takes the place of the placement's own gains"
    if placement.profile:
        yield "the learned skip scales are set anew from the variances of the first batch (Admin)"
    if _WEIGHTS[placement.weights]:
        yield _WEIGHTS[placement.weights]
    if config.model.bias:
        yield "linear layers have biases, 0 at the start"
    if config.model.tie:
        yield "the head is the embedding's matrix: drawn and counted once"
    if config.model.dropout:
        yield f"dropout {config.model.dropout:g} on the embedding, attention's weights and each branch"
    if config.init.truncate is not None:
        yield f"initial weights beyond {config.init.truncate:g} standard deviations are drawn anew"
