"""Checks across the parts of a run: each is right by itself, but together they cannot train or mean nothing.

What contradicts itself within one part is refused by its own config class.
"""

import math
from collections.abc import Iterator, Mapping

import torch

from normlab.catalogue import inits
from normlab.catalogue.activation_moments import FORMULAS
from normlab.catalogue.activations import ACTIVATIONS
from normlab.catalogue.groups import check_names
from normlab.catalogue.norms import NORMS, leak
from normlab.config import RunConfig, SublayerConfig, laws
from normlab.config.placement import PLACES
from normlab.errors import ConfigError, require
from normlab.machine import ranks
from normlab.measure.ring import MOST_BYTES, ring_bytes
from normlab.model.ffn import ffn_width
from normlab.model.norms import check_norm
from normlab.training.build import pick_device
from normlab.training.footprint import check_memory, machine_bytes
from normlab.training.sharding import check_sharding


def check_model(config: RunConfig) -> None:
    """Refuse what cannot be trained on any text.

    Raises:
        UserError: an unknown variant, parts that contradict each other, a leaky norm, a device that is not
            there.
    """
    check_names(config)
    device = pick_device(config.train.device)
    on_gpu = device.type == "cuda"
    check_memory(config, torch.cuda.get_device_properties(device).total_memory if on_gpu else machine_bytes())
    check_parts(config)
    leaks = leak(config.norm, config.data.objective)
    require(
        not leaks or config.norm.allow_leaky,
        "norm",
        f"{config.norm.name} lets predictions see the future: {leaks}. "
        "Set norm.allow_leaky=true to train it all the same",
    )
    processes = _processes(config)
    share = processes * config.train.accumulation
    require(
        config.train.batch_size % share == 0,
        "train.batch_size",
        f"{config.train.batch_size} does not divide into {processes} processes of "
        f"{config.train.accumulation} micro-batches; {share * max(config.train.batch_size // share, 1)} does",
    )
    if processes > 1 and config.train.parallel == "fsdp":
        check_sharding(config)
    gpus = torch.cuda.device_count()
    many = f"{processes} processes need a GPU each, and this machine has {gpus}; or train.device=cpu"
    require(device.type != "cuda" or processes <= gpus or ranks.size() > 1, "train.processes", many)


def _processes(config: RunConfig) -> int:
    """How many train the run: as many as torchrun started, or `train.processes`."""
    started, asked = ranks.size(), config.train.processes
    require(
        started == 1 or asked in (1, started),
        "train.processes",
        f"torchrun has started {started}; leave it at 1, or leave torchrun out for {asked}",
    )
    return max(started, asked)


def check_parts(config: RunConfig) -> None:
    """Refuse parts that contradict each other.

    Raises:
        ConfigError: names the keys on both sides, and the nearest choice that goes together.
    """
    _check_norm_widths(config)
    for gain in {record.norm_out_gain for _, _, record in _sublayers(config)}:
        check_norm(config.norm, config.model.width, config.model.context, gain)
    for place, at, record in _sublayers(config):
        _check_queries(config, record)
        _check_starts(config, record, place, at)
    _check_objective(config)
    _check_padding(config)
    _check_weights(config)
    _check_ends(config)
    _check_running_again(config)
    _check_ring(config)


def _check_objective(config: RunConfig) -> None:
    """Attention over all tokens needs targets that are hidden from it.

    The other way round nothing is wrong: causal attention guesses masked tokens from what came before.
    """
    require(
        config.model.causal or config.data.objective == "mlm",
        "model.causal",
        "false shows a token those after it, and data.objective=clm asks it for the next one, which it would "
        "only copy; use data.objective=mlm, or model.causal=true",
    )


def _check_padding(config: RunConfig) -> None:
    data, train = config.data, config.train
    if data.lengths == "packed":
        return
    alone = NORMS[config.norm.name].scope in ("token", "token_group", "prefix", "none")
    require(
        data.norms_see_padding or alone or config.norm.name == "batchnorm",
        "data.norms_see_padding",
        f"false is for norm=batchnorm; norm={config.norm.name} counts padding too: use true",
    )
    way = "or data.lengths=packed"
    require(not train.compile, "train.compile", f"padding is not for compiled models; use false, {way}")
    require(
        train.processes == 1 and ranks.size() == 1,
        "train.processes",
        f"padded batches divide unevenly among processes; use 1, {way}",
    )


def _check_running_again(config: RunConfig) -> None:
    running = NORMS[config.norm.name].running or config.placement.weights == "sigma_reparam"
    require(
        not (running and config.train.activation_checkpointing),
        "train.activation_checkpointing",
        "runs a block twice, and what this norm or placement carries from batch to batch would move twice; "
        "use train.activation_checkpointing=false",
    )


def _check_ring(config: RunConfig) -> None:
    size = ring_bytes(config.measure.ring, config.depth, config.model.heads)
    require(
        size <= MOST_BYTES,
        "measure.ring",
        f"{config.measure.ring} steps of all metrics can take {size / 2**30:.1f} GiB of memory; "
        f"use at most {int(config.measure.ring * MOST_BYTES / max(size, 1))}",
    )


def _sublayers(config: RunConfig) -> Iterator[tuple[str, Mapping[str, float], SublayerConfig]]:
    """Each sub-layer's kind, what the laws see there, and its record."""
    for layer in range(1, config.depth + 1):
        for number, place in enumerate(PLACES):
            at = laws.variables(config.depth, config.model.width, layer, number)
            yield place, at | config.placement.parameters, config.placement.sublayer_at(at, number)


def _widths(config: RunConfig, record: SublayerConfig, place: str) -> dict[int, str]:
    """The widths of the norms inside a branch, and the key that asks for each."""
    model, found = config.model, {}
    if place == "attn":
        for key in ("qk_norm", "v_norm"):
            if getattr(record, key) == "head":
                found[model.head_width] = f"placement.{key}=head"
        if record.qk_norm == "width":
            found[model.kv_width] = "placement.qk_norm=width"
    elif record.mid_norm:
        gated = ACTIVATIONS[config.activation.name].gated
        found[ffn_width(model, gated)] = "placement.mid_norm=true in the feed-forward layer"
    return {width: key for width, key in found.items() if width != model.width}


def _check_norm_widths(config: RunConfig) -> None:
    """Groups divide every width that is normed, and no mean is taken away from one channel."""
    norm, groups = config.norm, getattr(config.norm, "groups", 1)
    widths = {config.model.width: "model.width"}
    for place, _, record in _sublayers(config):
        widths |= _widths(config, record, place)
    common, centred = math.gcd(*widths), NORMS[norm.name].centred
    most = min(widths) // 2 if centred and common > 1 else common
    fitting = [number for number in range(1, most + 1) if common % number == 0]
    nearest = min(fitting, key=lambda number: abs(number - groups))
    for width, key in widths.items():
        require(
            width % groups == 0,
            "norm.groups",
            f"{groups} does not divide the {width} channels of the norms by {key}; the nearest number that "
            f"divides all widths here is {nearest}",
        )
        check_norm(norm, width, config.model.context)
        own, way = ("norm.groups", f"norm.groups={nearest}") if groups > 1 else ("norm", "norm=rmsnorm")
        require(
            width // groups > 1 or not centred,
            own,
            f"{norm.name} takes the mean away, which leaves 0 of a single channel, as in the norms by {key}; "
            f"use {way}",
        )


def _check_queries(config: RunConfig, record: SublayerConfig) -> None:
    """nGPT's factors on queries and keys."""
    require(
        not record.qk_scale or config.norm.name == "l2norm",
        "placement.qk_scale",
        f"multiplies by sqrt(K), for queries and keys of length 1, which norm={config.norm.name} does not "
        "give them; use norm=l2norm",
    )
    require(
        not record.qk_scale or config.model.kv_width == config.model.width,
        "placement.qk_scale",
        "has one factor for a query and its key, so each needs a key of its own; use model.kv_heads=0",
    )


def _check_weights(config: RunConfig) -> None:
    """Weights that are kept at one size take no other."""
    kept, norm = config.placement.weights, config.norm.name
    if kept == "free":
        return
    gains = inits.selected(config.init, config.placement.gains)
    ends = {"embedding"} if config.placement.sigma_head else {"embedding", "head"}
    scaled = {*gains.gain, *gains.std} - (ends if kept == "sigma_reparam" else set())
    require(
        not scaled,
        "init.gains" if config.init.gains != "placement" else "placement.gains",
        f"sets the size of {', '.join(sorted(scaled))}, which placement.weights={kept} sets itself; use "
        "init.gains=none",
    )
    if config.placement.sigma_head:
        _check_head_is_not_zero(config, gains)
    if kept != "unit":
        return
    require(
        norm == "l2norm",
        "norm",
        f"{norm} does not keep the stream at length 1, where placement.weights=unit (nGPT) has it; "
        "use norm=l2norm",
    )
    require(
        config.optimizer.weight_decay == 0,
        "optimizer.weight_decay",
        "is undone by placement.weights=unit, which sets each vector back to length 1 after a step; use 0",
    )


def _check_head_is_not_zero(config: RunConfig, gains: inits.InitGains) -> None:
    which = "embedding" if config.model.tie else "head"
    at = laws.variables(config.depth, config.model.width) | config.placement.parameters
    std = inits.std(config.init, gains, which, at)
    require(
        std > 0,
        f"init.{which}_std",
        "placement.weights=sigma_reparam divides the head's matrix by its size, which would start at 0; use "
        "another number",
    )


def _check_ends(config: RunConfig) -> None:
    """Embedding and head."""
    model = config.model
    gains = inits.selected(config.init, config.placement.gains)
    require(
        not model.tie or config.init.head_std is None,
        "init.head_std",
        "has no matrix of its own: model.tie=true makes the head the embedding; use init.embedding_std, or "
        "model.tie=false",
    )
    own = "init.gains" if config.init.gains != "placement" else f"placement={config.placement.name}"
    require(
        not model.tie or not {"head"} & {*gains.gain, *gains.std},
        "model.tie",
        f"makes the head the embedding, and {own} sets the head's own size; use model.tie=false",
    )
    at = laws.variables(config.depth, model.width)
    for key, learned in (("embedding_scale", model.embedding_scale_learn), ("logit_scale", False)):
        try:
            value = laws.value(getattr(model, key), at)
        except laws.LawError as error:
            raise ConfigError(f"model.{key}", str(error)) from None
        require(learned or value != 0, f"model.{key}", "0 hides the tokens from the loss; use another number")
    _check_unit_embedding(config)


def _check_unit_embedding(config: RunConfig) -> None:
    """One of the two says how large the embedding enters; they may agree."""
    factor = inits.embedding_factor(config)
    drawn = inits.std(
        config.init,
        inits.InitGains(name="none"),
        "embedding",
        laws.variables(config.depth, config.model.width),
    )
    require(
        not config.placement.unit_embedding or math.isclose(abs(factor) * drawn, 1, rel_tol=1e-6),
        "model.embedding_scale",
        f"gives the embedding the standard deviation {abs(factor) * drawn:.4g}, and placement="
        f"{config.placement.name} counts on 1; use model.embedding_scale=1, which is then brought to 1, or "
        "placement.unit_embedding=false",
    )


def _check_starts(config: RunConfig, record: SublayerConfig, place: str, at: Mapping[str, float]) -> None:
    """A product of factors of which two start at 0 has no gradient: the branch would never wake up."""
    zeros = dict(_matrices_at_zero(config, place, at))
    require(
        config.placement.weights != "sigma_reparam" or not zeros,
        "placement.weights",
        f"sigma_reparam divides each matrix by its size, and {', '.join(zeros)} would start at 0",
    )
    looks = {"attn.q", "attn.k"}
    series = [key for name, key in zeros.items() if name not in looks]
    if record.norm_out and record.norm_out_gain == 0:
        series.append("placement.norm_out_gain")
    if record.branch_scale.learn != "none" and laws.value(record.branch_scale.value, at) == 0:
        series.append("placement.branch_scale.value")
    for keys in ([zeros[name] for name in looks & zeros.keys()], series):
        if len(keys) > 1:
            *others, last = dict.fromkeys(keys)
            what = f"a factor of {place}'s branch at 0, and {' and '.join(others)} another"
            what = what if others else f"two factors of {place}'s branch at 0"
            raise ConfigError(
                last, f"starts {what}, so none of them ever gets a gradient; start one elsewhere"
            )


def _matrices_at_zero(config: RunConfig, place: str, at: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """The projections of a sub-layer that start at 0 and silence what follows, and the key that says so."""
    row, init = ACTIVATIONS[config.activation.name], config.init
    gains = inits.selected(init, config.placement.gains)
    at = inits.variables(at, config.model.width, config.model.width)
    names = ["attn.q", "attn.k", "attn.v", "attn.out"]
    if place == "ffn":
        silent = FORMULAS[row.function](0.0, config.activation) == 0
        starts = {"ffn.gate": row.gated and silent, "ffn.in": row.gated or silent, "ffn.out": True}
        names = [name for name, silences in starts.items() if silences]
    for name in names:
        if inits.std(init, gains, name, at) == 0:
            own = "init.std" if getattr(init, "std", 1) == 0 else "init.gain"
            gain = "placement.gains" if init.gains == "placement" else "init.gains"
            yield name, gain if name in gains.gain and laws.value(gains.gain[name], at) == 0 else own
