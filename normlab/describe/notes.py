"""What is easily overlooked in a config."""

import dataclasses
import math
from collections.abc import Iterator

from normlab.catalogue.activations import ACTIVATIONS
from normlab.catalogue.inits import INITS, InitGains, std, variables
from normlab.catalogue.norms import NORMS, leak
from normlab.catalogue.placement_row import PlacementRow
from normlab.catalogue.placements import PLACEMENTS
from normlab.config import RunConfig
from normlab.describe import blocks
from normlab.model.ffn import ffn_width

_WEIGHTS = {
    "free": "",
    "sigma_reparam": "each matrix W of the blocks{} acts as gamma / sigma(W) * W, sigma its largest singular "
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
        measured = "; normlab's own runs trained without" if row.warmup_measured == "no" else ""
        wanted = f"warmup={config.train.steps // 3}"
        yield f"published with a warm-up, and this config has none: {wanted}{measured}"
    if row and row.init and config.init.gains == "placement":
        yield from _other_weights(config, row)
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
    if config.data.lengths == "padded":
        seen = "" if config.data.norms_see_padding else ", nor by batch norm's statistics"
        yield f"lengths drawn evenly from 1 to the context, then padding, not seen by attention{seen}"
    if not config.model.causal:
        yield "attention is bidirectional: no causal mask"
    if not config.model.causal and config.model.positions == "none":
        yield "without positions nor a causal mask a sequence is a bag of tokens: their order changes nothing"
    if unfinished := placement.unfinished(config.depth, config.model.width, config.train.steps):
        yield unfinished
    if placement.gains and config.init.gains != "placement":
        yield f"init.gains={config.init.gains} takes the place of the placement's own gains"
    if placement.profile:
        yield "the learned skip scales are set anew from the variances of the first batch (Admin)"
    if _WEIGHTS[placement.weights]:
        yield _WEIGHTS[placement.weights].format(", and the head's," if placement.sigma_head else "")
    if config.model.bias:
        yield "linear layers have biases, 0 at the start"
    if config.model.tie:
        yield "the head is the embedding's matrix: drawn and counted once"
    if config.model.dropout:
        yield f"dropout {config.model.dropout:g} on the embedding, attention's weights and each branch"
    if config.init.truncate is not None:
        yield f"initial weights beyond {config.init.truncate:g} standard deviations are drawn anew"


def _other_weights(config: RunConfig, row: PlacementRow) -> Iterator[str]:
    """How far the initial weights are from those that the placement's gains are published on."""
    width, hidden = config.model.width, ffn_width(config.model, ACTIVATIONS[config.activation.name].gated)
    shapes = {"attn.q": (width, width), "ffn.in": (width, hidden), "ffn.out": (hidden, width)}
    published, ratios = dataclasses.replace(INITS[row.init].config, gain=1.0), {}
    for projection, (fan_in, fan_out) in shapes.items():
        at = variables(blocks.at(config, 1, 0), fan_in=fan_in, fan_out=fan_out)
        ours, theirs = (
            std(each, InitGains(name="none"), projection, at) for each in (config.init, published)
        )
        ratios[projection] = ours / theirs
    if all(math.isclose(ratio, 1, rel_tol=1e-3) for ratio in ratios.values()):
        return
    told = ", ".join(f"{ratio:.2f} ({projection})" for projection, ratio in ratios.items())
    way = (
        f"preset={row.preset} is the published model"
        if row.preset
        else f"init={row.init} init.gain=1 has them"
    )
    yield f"initial weights are {told} times the published ones; {way}"
