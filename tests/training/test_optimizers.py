import copy
import io
import math

import pytest
import torch

from normlab.catalogue.optimizers import OPTIMIZERS, AdamConfig, LionConfig, MuonConfig, SGDConfig
from normlab.config import DECAYS
from normlab.data import load_corpus
from normlab.errors import ConfigError
from normlab.model.gpt import GPT, fused
from normlab.training.build import build
from normlab.training.optimizers import SPARED, Lion, build_optimizer, kind_of
from normlab.training.step import take_step

#: A model with parameters of every kind: biases, norms, positions, learned scales and a learned slope.
RICH = {
    "model.bias": True,
    "model.head_bias": True,
    "placement.branch_scale.learn": "vector",
    "activation.learn": "scalar",
}


def rich(small, changes=None, **rows):
    return small(RICH | (changes or {}), activation="swish", placement="peri", **rows)


def job_of(config):
    return build(config, load_corpus(config.data, config.model.context))


def gradients(model, seed=0):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_every_optimizer_says_what_it_is():
    assert all(row.meaning and row.equation and row.source for row in OPTIMIZERS.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_is_in_one_group_and_groups_scale_the_rate(name, small):
    model = GPT(rich(small), 11)
    optimizer = build_optimizer(model.named_parameters(), OPTIMIZERS[name].config)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert all(group["lr_scale"] == 1 for group in optimizer.param_groups)


def test_kinds_of_parameters(small):
    kinds = {}
    for name, parameter in GPT(rich(small), 11).named_parameters():
        kinds.setdefault(kind_of(name, parameter), set()).add(name.removeprefix("layers.0."))
    assert kinds["embedding"] == {"embedding.tokens.weight", "embedding.positions.weight"}
    assert kinds["head"] == {"head.weight"}
    assert {"embedding.norm.weight", "final_norm.bias", "attn.norm_in.weight"} <= kinds["norm"]
    assert {"head.bias", "attn.branch.qkv.bias", "ffn.branch.w_out.bias"} <= kinds["bias"]
    assert {"attn.branch_scale.weight", "ffn.branch.act.beta"} <= kinds["scale"]
    first = {name for name in kinds["matrix"] if not name.startswith("layers.1")}
    assert first == {f"{name}.weight" for name in ("attn.branch.qkv", "attn.branch.out")} | {
        f"ffn.branch.w_{side}.weight" for side in ("in", "out")
    }
    gated = dict(GPT(small(activation="swiglu"), 11).named_parameters())
    gate = "layers.0.ffn.branch.w_gate.weight"
    assert kind_of(gate, gated[gate]) == "matrix"


def lion_by_hand(w, gradients, lr, b1, b2, decay):
    """Algorithm 2 of Chen et al. 2023."""
    m = torch.zeros_like(w)
    for g in gradients:
        c = b1 * m + (1 - b1) * g
        w = w - lr * (c.sign() + decay * w)
        m = b2 * m + (1 - b2) * g
    return w


@pytest.mark.parametrize(("betas", "decay"), [((0.9, 0.99), 0.0), ((0.95, 0.98), 0.3), ((0.0, 0.0), 0.1)])
def test_lion_is_its_algorithm(betas, decay):
    torch.manual_seed(0)
    shapes = [(7, 5), (3,), ()]
    parameters = [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]
    series = [[torch.randn(shape, dtype=torch.float64) for _ in range(6)] for shape in shapes]
    expected = [
        lion_by_hand(p.detach(), g, 0.02, *betas, decay) for p, g in zip(parameters, series, strict=True)
    ]
    optimizer = Lion([{"params": parameters, "weight_decay": decay}], 0.02, betas)
    for step in range(6):
        for parameter, g in zip(parameters, series, strict=True):
            parameter.grad = g[step]
        optimizer.step()
    for parameter, wanted in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-13, atol=1e-13)


def test_lion_moves_every_weight_by_the_rate_whatever_the_size_of_the_gradient(small):
    moves = []
    for size in (1.0, 1e-6):
        model = GPT(small(), 11).double()
        before = weights(model)
        optimizer = build_optimizer(model.named_parameters(), LionConfig(name="lion", lr=1e-3))
        gradients(model)
        for parameter in model.parameters():
            parameter.grad *= size
        optimizer.step()
        moves.append(torch.cat([(b - a).flatten() for a, b in zip(before, weights(model), strict=True)]))
    assert torch.equal(moves[0], moves[1])
    torch.testing.assert_close(moves[0].abs(), torch.full_like(moves[0], 1e-3), rtol=1e-9, atol=0)


def test_lion_leaves_alone_what_has_no_gradient():
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    parameters[0].grad = torch.ones(2)
    Lion([{"params": parameters, "weight_decay": 0.1}], 0.1, (0.9, 0.99)).step()
    assert torch.equal(parameters[1], torch.ones(2)) and not torch.equal(parameters[0], torch.ones(2))


def test_muon_is_torchs_for_the_matrices_of_the_blocks_and_adamw_for_the_rest(small):
    model = GPT(rich(small), 11)
    twin = copy.deepcopy(model)
    config = MuonConfig(name="muon", lr=0.01, weight_decay=0.1, momentum=0.9, iterations=4, adamw_scale=0.5)
    ours = build_optimizer(model.named_parameters(), config)
    inside = [p for n, p in twin.named_parameters() if n.startswith("layers") and p.ndim == 2]
    assert len(inside) == 2 * 4
    rest = [p for p in twin.parameters() if not any(p is matrix for matrix in inside)]
    torchs = (
        torch.optim.Muon(
            inside, lr=0.01, weight_decay=0.1, momentum=0.9, ns_steps=4, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.1},
                {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=0.005,
            betas=(0.9, 0.95),
            eps=1e-8,
            fused=True,
        ),
    )
    for group in ours.param_groups:
        group["lr"] = 0.01 * group["lr_scale"]
    for step in range(3):
        gradients(model, step), gradients(twin, step)
        ours.step()
        for optimizer in torchs:
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("changes", [{}, {"model.kv_heads": 1}, {"placement.weights": "sigma_reparam"}])
def test_muon_takes_q_k_and_v_as_three_matrices(changes, small):
    """Against torch's Muon over parameters that are apart, with heads of keys and values shared too."""
    job = job_of(small(changes | {"optimizer.lr": 0.01, "optimizer.weight_decay": 0.1}, optimizer="muon"))
    rows = [16, 8, 8] if "model.kv_heads" in changes else [16, 16, 16]
    apart, hers = {}, {}
    for name, parameter in job.model.named_parameters():
        if parameter.ndim == 2 and name.startswith("layers"):
            pieces = rows if "qkv" in name else [len(parameter)]
            hers[name] = [torch.nn.Parameter(p.clone()) for p in parameter.detach().split(pieces)]
            apart[name] = pieces
    assert apart["layers.1.attn.branch.qkv.weight"] == rows
    twins = [p for several in hers.values() for p in several]
    torchs = torch.optim.Muon(twins, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        gradients(job.model, step)
        for name, several in hers.items():
            pieces = job.model.get_parameter(name).grad.split(apart[name])
            for twin, gradient in zip(several, pieces, strict=True):
                twin.grad = gradient.clone()
        for group in job.optimizer.param_groups:
            group["lr"] = 0.01
        job.optimizer.step()
        torchs.step()
    for name, several in hers.items():
        assert torch.equal(job.model.get_parameter(name), torch.cat(several)), name
    # The state is one momentum a parameter, as before the three were taken apart.
    muon = job.optimizer.parts[0]
    assert all(state["momentum_buffer"].shape == p.shape for p, state in muon.state.items())


def test_a_gated_layer_has_no_fused_matrix_but_q_k_and_v(small):
    names = [name for name, _ in GPT(small(activation="swiglu"), 11).named_parameters()]
    assert {"layers.0.ffn.branch.w_gate.weight", "layers.0.ffn.branch.w_in.weight"} <= set(names)
    found = fused(GPT(small({"model.kv_heads": 1}, activation="swiglu"), 11))
    assert found == {f"layers.{layer}.attn.branch.qkv.weight": [16, 8, 8] for layer in (0, 1)}


@pytest.mark.parametrize(
    ("adjust", "shape", "factor"),
    [
        ("match_rms_adamw", (64, 16), 0.2 * 8),
        ("match_rms_adamw", (16, 64), 0.2 * 8),
        ("original", (64, 16), 2),
        ("original", (16, 64), 1),
    ],
)
def test_muons_first_step_is_the_orthogonal_factor_of_the_gradient(adjust, shape, factor):
    """Against an SVD: U V^T times the factor of the shape, to what five Newton-Schulz steps give."""
    torch.manual_seed(0)
    name, w = "layers.0.ffn.branch.w_in.weight", torch.nn.Parameter(torch.zeros(shape))
    other = torch.nn.Parameter(torch.zeros(2))
    optimizer = build_optimizer(
        [(name, w), ("final_norm.weight", other)], MuonConfig(name="muon", lr=1.0, adjust=adjust)
    )
    w.grad, other.grad = torch.randn(shape), torch.ones(2)
    optimizer.step()
    u, _, v = torch.linalg.svd(w.grad, full_matrices=False)
    got, wanted = -w.detach() / factor, u @ v
    assert torch.nn.functional.cosine_similarity(got.flatten(), wanted.flatten(), dim=0) > 0.97
    values = torch.linalg.svdvals(got)
    assert values.min() > 0.6 and values.max() < 1.3
    if adjust == "match_rms_adamw":  # as large as a step of AdamW typically is
        assert w.detach().square().mean().sqrt().item() == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "muon"])
def test_weight_decay_takes_hold_of_what_it_should(name, decay, small):
    """With a gradient of zero all that moves is what decays, and by lr * weight_decay."""
    changes = {"optimizer.decay": decay, "optimizer.weight_decay": 0.5, "optimizer.lr": 0.1}
    config = rich(small, changes, optimizer=name)
    model = GPT(config, 11)
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(model.named_parameters(), config.optimizer).step()
    left_alone = {
        "all": (),
        "matrices": ("norm", "bias", "beta", "branch_scale"),
        "no_norms": ("norm",),
        "no_embeddings": ("tokens", "positions"),
    }[decay]
    for parameter_name, parameter in model.named_parameters():
        spared = any(word in parameter_name for word in left_alone)
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, 1.0 if spared else 0.95))


def test_adams_decay_goes_through_the_same_groups(small):
    config = small({"optimizer.decay": "no_norms", "optimizer.weight_decay": 0.1}, optimizer="adam")
    groups = build_optimizer(GPT(config, 11).named_parameters(), config.optimizer).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert len(groups[1]["params"]) == 2 * (2 * 2 + 1)


def test_pure_decay_takes_a_gain_to_zero_and_a_spared_one_stays(small):
    """1000 steps: why `(1 + g)` and `g` differ once gains decay."""
    gains = {}
    for decay in ("all", "no_norms"):
        changes = {"optimizer.decay": decay, "optimizer.weight_decay": 0.1, "optimizer.lr": 0.1}
        config = small(changes, norm="rmsnorm")
        gain = torch.nn.Parameter(torch.ones(4))
        optimizer = build_optimizer([("final_norm.weight", gain)], config.optimizer)
        gain.grad = torch.zeros(4)
        for _ in range(1000):
            optimizer.step()
        gains[decay] = gain[0].item()
    assert gains["all"] == pytest.approx(0.99**1000, rel=1e-3) and gains["no_norms"] == 1


def test_every_word_for_decay_is_known():
    assert SPARED.keys() == set(DECAYS)


@pytest.mark.parametrize("decay", DECAYS)
def test_without_weight_decay_nothing_depends_on_what_decays(decay, small):
    def after(changes):
        job = job_of(small(changes))
        for _ in range(3):
            take_step(job)
            job.step += 1
        return job

    job, plain = after({"optimizer.decay": decay}), after({})
    assert len(job.optimizer.param_groups) == 1
    assert all(torch.equal(a, b) for a, b in zip(weights(job.model), weights(plain.model), strict=True))


def test_the_loop_sets_each_groups_rate_by_its_scale(small):
    job = job_of(small({"optimizer.adamw_scale": 0.25, "warmup": 4}, optimizer="muon"))
    row = take_step(job)
    muon, adamw = job.optimizer.parts
    assert row["lr"] == pytest.approx(2.5e-3 / 4)
    assert [group["lr"] for group in muon.param_groups] == [row["lr"]]
    assert [group["lr"] for group in adamw.param_groups] == [row["lr"] / 4]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_through_a_file_bit_for_bit_and_rates_still_arrive(name, small):
    """Written and read as a checkpoint is; two steps after it equal two steps without it."""
    config = rich(small, {"optimizer.weight_decay": 0.1, "optimizer.decay": "matrices"}, optimizer=name)
    model = GPT(config, 11)
    optimizer = build_optimizer(model.named_parameters(), config.optimizer)

    def step(model, optimizer, seed):
        gradients(model, seed)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (seed + 1) * group["lr_scale"]
        optimizer.step()

    for seed in range(2):
        step(model, optimizer, seed)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = GPT(config, 11)
    again = build_optimizer(other.named_parameters(), config.optimizer)
    other.load_state_dict(state["model"])
    again.load_state_dict(state["optimizer"])
    for seed in (2, 3):
        step(model, optimizer, seed), step(other, again, seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (AdamConfig, {"decay": "matrixes"}, r"optimizer\.decay: .*Did you mean 'matrices'"),
        (AdamConfig, {"betas": [0.9, 1.0]}, r"optimizer\.betas"),
        (AdamConfig, {"eps": math.inf}, r"optimizer\.eps"),
        (LionConfig, {"betas": [0.9]}, r"optimizer\.betas"),
        (SGDConfig, {"momentum": 1.0}, r"optimizer\.momentum"),
        (SGDConfig, {"momentum": 0.0, "nesterov": True}, r"optimizer\.nesterov"),
        (MuonConfig, {"adjust": "match_rms_adam"}, r"optimizer\.adjust: .*Did you mean 'match_rms_adamw'"),
        (MuonConfig, {"iterations": 0}, r"optimizer\.iterations"),
        (MuonConfig, {"iterations": 100}, r"optimizer\.iterations"),
        (MuonConfig, {"momentum": -0.1}, r"optimizer\.momentum"),
        (MuonConfig, {"adamw_scale": 0.0}, r"optimizer\.adamw_scale"),
        (MuonConfig, {"weight_decay": -1.0}, r"optimizer\.weight_decay"),
    ],
)
def test_bad_settings_are_named(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        kind(name="x", **settings)
