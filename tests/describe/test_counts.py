"""Counts against the real model on the CPU: parameters, products, the optimizer, what autograd saves."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from normlab.catalogue.activations import ACTIVATIONS
from normlab.catalogue.norms import NORMS
from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.catalogue.placements import PLACEMENTS
from normlab.config import SCALES
from normlab.describe import constants, counts, saved
from normlab.describe.facts import describe
from normlab.errors import ConfigError
from normlab.model.gpt import GPT, site
from normlab.model.residual import LearnedScale, ScheduledScale, Times
from normlab.training.optimizers import build_optimizer

VOCAB = 11
LEAKY = {"norm.allow_leaky": True}
#: Kinds of model beside the default one.
MODELS = [
    {"model.bias": True, "model.tie": True},
    {"model.kv_heads": 1, "model.positions": "rope", "model.rope_fraction": 0.5},
    {"model.positions": "alibi"},
    {"model.dropout": 0.1},
    {"model.positions": "sinusoidal", "model.logit_softcap": 30.0},
    {"model.positions": "none", "train.precision": "fp64", "train.z_loss": 1e-4},
    {"train.precision": "bf16"},
    {"train.precision": "bf16", "placement.softcap": 50.0, "train.accumulation": 2},
]


def real(config):
    torch.manual_seed(0)
    return GPT(config, VOCAB)


@pytest.fixture
def quick(monkeypatch):
    """Counts without a forward pass, which some tests do not look at."""
    monkeypatch.setattr(saved, "activations", lambda model, config: 0)


def check_parameters(config):
    """By the places and kinds of `site`: what `counts` splits further is put together again."""
    wanted: dict[str, int] = {}
    model = real(config)
    for name, parameter in model.named_parameters():
        place, kind = site(name)
        wanted[kind or place] = wanted.get(kind or place, 0) + parameter.numel()
    found: dict[str, int] = {}
    for part, number in counts.count(config, VOCAB).parameters.items():
        whole = {"positions": "embedding", "embedding norm": "embedding", "final norm": "final_norm"}.get(
            part, part
        )
        whole = "attn.qkv" if part in ("attn.q", "attn.k", "attn.v") else whole
        found[whole] = found.get(whole, 0) + number
    assert found == wanted
    assert sum(found.values()) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("placement", "number"), [(name, n) for n, name in enumerate(PLACEMENTS)])
@pytest.mark.usefixtures("quick")
def test_parameters_by_part_are_the_models_in_every_placement(placement, number, small):
    """Norms and activations with parameters of different kinds take turns."""
    norm = ("layernorm", "scalenorm", "derf")[number % 3]
    activation = ("gelu", "swiglu", "swish", "geglu")[number % 4]
    check_parameters(
        small(
            {"activation.learn": "scalar"} if activation == "swish" else {},
            placement=placement,
            norm=norm,
            activation=activation,
        )
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.usefixtures("quick")
def test_parameters_by_part_are_the_models_with_every_norm(norm, small):
    check_parameters(small(LEAKY, placement="gemma3", norm=norm))


@pytest.mark.parametrize("changes", MODELS)
@pytest.mark.usefixtures("quick")
def test_parameters_by_part_are_those_of_every_kind_of_model(changes, small):
    check_parameters(small({"activation.learn": "scalar", **changes}, activation="swish"))


@pytest.mark.usefixtures("quick")
def test_parameters_are_those_written_out_by_hand(small):
    """Two blocks of width 16 with 2 heads of which one is for keys and values; context 8."""
    config = small(
        {"model.kv_heads": 1, "model.bias": True, "model.head_bias": True, "model.tie": True},
        activation="swiglu",
    )
    found = counts.count(config, VOCAB)
    hidden = 48  # two thirds of 64, up to a multiple of 8
    assert found.parameters == {
        "embedding": VOCAB * 16,
        "positions": 8 * 16,
        "attn.q": 2 * (16 * 16 + 16),
        "attn.k": 2 * (16 * 8 + 8),
        "attn.v": 2 * (16 * 8 + 8),
        "attn.out": 2 * (16 * 16 + 16),
        "ffn.in": 2 * 2 * (16 * hidden + hidden),
        "ffn.out": 2 * (hidden * 16 + 16),
        "norm": 2 * 2 * (16 + 16),
        "final norm": 16 + 16,
        "head": VOCAB,
    }
    assert found.blocks[0] == found.blocks[1]
    assert {part: 2 * number for part, number in found.blocks[0].items()} == {
        part: found.parameters[part] for part in found.blocks[0]
    }
    described = describe(config, VOCAB)
    edges = VOCAB * 16 + 8 * 16 + VOCAB
    assert described.non_embedding == described.total - edges


@pytest.mark.usefixtures("quick")
def test_a_preset_is_counted_as_it_is_built():
    from normlab.compose.from_words import compose

    config = compose(["preset=gpt2", "depth=2", "train.device=cpu"])
    check_parameters(config)


@pytest.mark.parametrize(
    "placement", ["pre", "gemma2", "ngpt", "sigma_reparam", "parallel_shared", "siamese"]
)
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
@pytest.mark.usefixtures("quick")
def test_flops_are_those_that_torch_counts(placement, activation, small):
    """Forward, and for training backward as well, with attention done in plain matrix products."""
    changes = {"model.kv_heads": 1, "model.tie": True, "train.device": "cpu"}
    config = small(changes, placement=placement, activation=activation)
    model = real(config)
    ids = torch.zeros((3, 8), dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        forward = counter.get_total_flops()
        loss.backward()
    found = describe(config, VOCAB).flops
    tokens = ids.numel()
    assert (found.forward * tokens, found.training * tokens) == (forward, counter.get_total_flops())
    assert sum(found.parts.values()) == found.forward
    assert found.a_step == found.training * 4 * 8 and found.tokens_a_step == 4 * 8
    assert found.a_run == found.a_step * 6


@pytest.mark.usefixtures("quick")
def test_6n_is_the_parameters_without_embeddings_and_head(small):
    found = describe(small({"model.tie": True}), VOCAB)
    assert found.flops.six_n == 6 * found.non_embedding


def saved_in_a_step(config):
    """Bytes that autograd saves in a real step, apart from what the model holds."""
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    model = real(config).to(dtype).train()
    held = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in held:
            kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    sequences = config.train.batch_size // config.train.accumulation
    ids = torch.randint(VOCAB, (sequences, config.model.context))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=config.train.precision == "bf16"):
            logits = model(ids)
        logits = logits.flatten(0, 1).float() if config.train.precision == "bf16" else logits.flatten(0, 1)
        loss = F.cross_entropy(logits, ids.flatten())
        if config.train.z_loss:
            loss = loss + config.train.z_loss * logits.logsumexp(-1).square().mean()
    return sum(size for size, _ in kept.values())


def check_activations(config):
    """A hundredth is allowed: which of two equal tensors a kernel saves is torch's affair."""
    wanted = saved_in_a_step(config)
    for device in ("cpu", "meta"):
        model = counts.build(config, VOCAB, device)
        assert saved.activations(model, config) == pytest.approx(wanted, rel=0.01), device


@pytest.mark.parametrize("changes", MODELS)
def test_activations_are_what_autograd_saves(changes, small):
    check_activations(small({"model.context": 32, **changes}, activation="swiglu"))


@pytest.mark.parametrize(
    ("placement", "norm"),
    [
        *(("pre", "batchnorm"), ("gemma3", "powernorm"), ("siamese", "rmsnorm"), ("ngpt", "l2norm")),
        *(("sigma_reparam", "layernorm"), ("gpas", "dyt"), ("normformer", "cum_instancenorm")),
        *(("layerscale", "pb_relax_ln"), ("prores", "adanorm")),
    ],
)
def test_activations_follow_placement_and_norm(placement, norm, small):
    check_activations(small({"model.context": 32} | LEAKY, placement=placement, norm=norm))


def test_only_what_is_small_is_built_in_full(small, monkeypatch):
    devices = []
    look = lambda model, config: devices.append(next(model.parameters()).device.type) or 0  # noqa: E731
    monkeypatch.setattr(saved, "activations", look)
    for changes in (
        {},
        {"model.width": 1 << 14},
        {"train.batch_size": 1 << 19},
        {"train.batch_size": 1 << 19, "train.accumulation": 1 << 17},
        {"model.context": 1 << 13, "model.positions": "alibi"},
    ):
        counts.count(small(changes), VOCAB)
    assert devices == ["cpu", "meta", "meta", "cpu", "meta"]


def test_built_without_storage_everything_is_the_same(small):
    """Parameters, matrices, FLOPs, norms, the optimizer's state, buffers and activations."""
    for placement in ("ngpt", "sigma_reparam", "normformer"):
        config = small(
            {"model.positions": "rope", "model.bias": True, "init.truncate": 2.0}, placement=placement
        )
        found = []
        for limit in (counts.SMALL_BYTES, 0):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(counts, "SMALL_BYTES", limit)
                found.append(counts.count(config, VOCAB))
        assert found[0] == found[1]


@pytest.mark.parametrize("changes", [{}, {"optimizer.momentum": 0.0}])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.usefixtures("quick")
def test_the_optimizers_state_is_as_large_as_said(name, changes, small):
    if changes and name != "sgd":
        changes = {"optimizer.weight_decay": 0.1}
    config = small({"model.bias": True, **changes}, optimizer=name, placement="rezero", activation="swish")
    model = real(config)
    ids = torch.zeros((1, 8), dtype=torch.long)
    model(ids).sum().backward()
    optimizer = build_optimizer(model.named_parameters(), config.optimizer)
    optimizer.step()
    parts = getattr(optimizer, "parts", (optimizer,))
    kept = sum(
        tensor.numel()
        for part in parts
        for state in part.state.values()
        for key, tensor in state.items()
        if key != "step" and isinstance(tensor, torch.Tensor)
    )
    assert counts.count(config, VOCAB).state == kept


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.usefixtures("quick")
def test_memory_is_in_bytes_of_the_precision(precision, small):
    config = small({"train.precision": precision, "model.positions": "rope"})
    found = {held.name: held.size for held in describe(config, VOCAB).memory}
    dtype = torch.float64 if precision == "fp64" else torch.float32
    model = real(config).to(dtype)
    assert found["weights"] == found["gradients"] == sum(p.nbytes for p in model.parameters())
    assert found["optimizer state"] == 2 * found["weights"]
    assert found["buffers"] == sum(b.nbytes for b in model.buffers()) > 0
    assert found["total"] == sum(size for name, size in found.items() if name != "total")


@pytest.mark.parametrize("name", PLACEMENTS)
@pytest.mark.usefixtures("quick")
def test_norms_and_what_else_is_learned_in_a_block_is_what_the_table_says(name, small):
    found = counts.count(small({"depth": 4}, placement=name), VOCAB)
    said = PLACEMENTS[name].norms_per_block
    assert said == (
        str(found.norms[0]) if len(set(found.norms)) == 1 else f"{min(found.norms)}-{max(found.norms)}"
    )
    formula = re.sub(r"(\d)([DHF])", r"\1*\2", PLACEMENTS[name].extra_parameters)
    assert found.extra[-1] == eval(formula, {"D": 16, "H": 2, "F": 64})


@pytest.mark.parametrize("init", ["fan_in", "normal"])
@pytest.mark.parametrize("gains", ["placement", "mitchell", "wang", "none"])
@pytest.mark.usefixtures("quick")
def test_initial_standard_deviations_are_those_that_are_drawn(init, gains, small, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "normlab.model.gpt.normal_", lambda tensor, std, seed, name, truncate: drawn.setdefault(name, std)
    )
    config = small(
        {"depth": 3, "init.gains": gains, "init.embedding_std": 0.3, "model.kv_heads": 1},
        placement="post_ln_init",
        activation="swiglu",
        init=init,
    )
    inside, outside = constants.starts(config, counts.count(config, VOCAB).matrices)
    drawn.clear()
    real(config)
    assert {name: start.std for name, start in outside.items()} == {
        "embedding": drawn["embedding.tokens.weight"],
        "positions": drawn["embedding.positions.weight"],
        "head": drawn["head.weight"],
    }
    names = {
        "attn.out": "attn.branch.out.weight",
        **{f"ffn.{n}": f"ffn.branch.w_{n}.weight" for n in ("in", "gate", "out")},
    }
    names |= {f"attn.{letter}": f"attn.branch.qkv.weight/{letter}" for letter in "qkv"}
    seen = 0
    for blocks, row in inside:
        first, _, last = blocks.partition("-")
        for layer in range(int(first), int(last or first) + 1):
            assert {name: start.std for name, start in row.items()} == {
                name: drawn[f"layers.{layer - 1}.{path}"] for name, path in names.items()
            }
            seen += 1
    assert seen == 3


@pytest.mark.usefixtures("quick")
def test_a_gain_is_the_ratio_to_the_distributions_own(small):
    config = small({"depth": 8}, placement="deepnorm")
    [(blocks, row)], outside = constants.starts(config, counts.count(config, VOCAB).matrices)
    beta = (8 * 8) ** -0.25
    assert blocks == "1-8" and outside["embedding"].gain == 1
    assert row["attn.v"].gain == pytest.approx(beta) and row["attn.q"].gain == 1
    assert row["attn.v"].std == pytest.approx(beta * row["attn.q"].std)


def module_value(module, model, steps):
    """First, last and kind of a scale in a real model."""
    if isinstance(module, LearnedScale):
        return [float(module.factor().detach().mean())] * 2, "learned"
    if isinstance(module, ScheduledScale):
        values = []
        for step in (0, steps - 1):
            model.set_step(step)
            values.append(float(module.factor))
        return values, "scheduled"
    return [module.factor if isinstance(module, Times) else 1.0] * 2, "fixed"


@pytest.mark.parametrize("name", PLACEMENTS)
def test_scales_of_every_block_are_the_models(name, small):
    config = small({"depth": 3}, placement=name)
    model = real(config)
    seen = 0
    for blocks, row in constants.scales(config):
        first, _, last = blocks.partition("-")
        for layer in range(int(first), int(last or first) + 1):
            for key, value in row.items():
                place, _, scale = key.partition(".")
                if value.kind != "tied":
                    module = getattr(getattr(model.layers[layer - 1], place), scale)
                    numbers, kind = module_value(module, model, config.train.steps)
                    assert value.kind == kind
                    assert [value.first, value.last] == pytest.approx(numbers, rel=1e-6)
                seen += 1
    assert seen == 3 * 2 * len(SCALES)


def test_runs_of_equal_blocks_are_one_line(small):
    assert [blocks for blocks, _ in constants.scales(small({"depth": 24}, placement="deepnorm"))] == ["1-24"]
    assert len(constants.scales(small({"depth": 24}, placement="lns"))) == 24


def test_counting_needs_no_memory_for_the_model(small):
    model = counts.build(small({"model.width": 1 << 14, "depth": 4}), 1 << 18, "meta")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_a_norm_that_does_not_fit_is_refused(small):
    with pytest.raises(ConfigError, match=r"norm\.groups: 3 does not divide"):
        counts.count(small({"norm.groups": 3}, norm="groupnorm_token"), VOCAB)


@pytest.mark.usefixtures("quick")
def test_every_activation_is_counted(small):
    for name in ACTIVATIONS:
        found = counts.count(small({}, activation=name), VOCAB)
        assert found.parameters["ffn.in"] == (2 * 2 * 48 * 16 if ACTIVATIONS[name].gated else 2 * 64 * 16)
