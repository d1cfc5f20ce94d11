"""Every quantity against a Pre-LN and a Post-LN model written out in plain torch."""

import math

import pytest
import torch
import torch.nn.functional as F

from normlab.catalogue.placements import PLACEMENTS
from normlab.probe import quantities as q
from normlab.probe.settings import ProbeConfig

DEPTH, WIDTH, HEADS = 2, 64, 4


def by_hand(weights, ids_BT, placement):
    """Logits and the streams x_0, x_1, ... x_2L of a model without biases, by its equations."""

    def norm(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()

    def attention(u, layer):
        q_, k, v = (u @ weights[f"layers.{layer}.attn.branch.qkv.weight"].T).chunk(3, -1)
        q_, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (q_, k, v))
        scores = q_ @ k.mT / math.sqrt(WIDTH // HEADS)
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        return mixed.transpose(1, 2).flatten(2) @ weights[f"layers.{layer}.attn.branch.out.weight"].T

    def ffn(u, layer):
        h = F.gelu(u @ weights[f"layers.{layer}.ffn.branch.w_in.weight"].T)
        return h @ weights[f"layers.{layer}.ffn.branch.w_out.weight"].T

    x = weights["embedding.tokens.weight"][ids_BT]
    streams = [x]
    for layer in range(DEPTH):
        for branch in (attention, ffn):
            x = norm(x + branch(x, layer)) if placement == "post" else x + branch(norm(x), layer)
            streams.append(x)
    out = x if placement == "post" else norm(x)
    return out @ weights["head.weight"].T, streams


class Hand:
    """The same model by hand, as a second road to every quantity."""

    def __init__(self, at, placement):
        self.at, self.placement = at, placement
        self.weights = {name: p.detach().clone().requires_grad_() for name, p in at.model.named_parameters()}
        self.names = [name for name in self.weights if "branch" in name]
        self.logits, self.streams = by_hand(self.weights, at.batch.ids_BT, placement)
        loss = -self.logits.log_softmax(-1).gather(-1, at.batch.targets_BT[..., None]).mean()
        self.loss = loss.item()
        found = torch.autograd.grad(loss, [*(self.weights[name] for name in self.names), *self.streams])
        self.gradients = dict(zip(self.names, found[: len(self.names)], strict=True))
        self.stream_gradients = found[len(self.names) :]

    def change(self, of):
        """The logits' change under W -> of(name, W)."""
        with torch.no_grad():
            moved = {name: of(name, w) if name in self.names else w for name, w in self.weights.items()}
            return by_hand(moved, self.at.batch.ids_BT, self.placement)[0] - self.logits


@pytest.fixture(params=["pre", "post"])
def pair(request, begun):
    """A model after its passes, and the same by hand."""
    at = begun({"depth": DEPTH}, placement=request.param)
    return at, Hand(at, request.param)


def same(value, oracle):
    return value == pytest.approx(oracle.item() if isinstance(oracle, torch.Tensor) else oracle, rel=1e-7)


def test_the_passes_are_those_of_the_model_written_out(pair):
    at, hand = pair
    torch.testing.assert_close(at.logits_BTV, hand.logits.detach())
    for found, oracle in zip(at.streams, hand.streams, strict=True):
        torch.testing.assert_close(found, oracle.detach())
    assert same(q.loss_excess(at), hand.loss - math.log(65))


def test_gradients(pair):
    at, hand = pair
    last, first = (hand.gradients[f"layers.{layer}.ffn.branch.w_out.weight"] for layer in (DEPTH - 1, 0))
    assert same(q.grad_last_ffn(at), last.square().sum().sqrt())
    assert same(q.grad_first_ffn(at), first.square().sum().sqrt())


def test_the_stream(pair):
    at, hand = pair
    flat = hand.streams[-1].flatten()
    assert same(q.stream_variance(at), ((flat - flat.mean()) ** 2).mean())
    assert len(q.stream_variance_by_block(at)) == DEPTH
    assert same(q.stream_variance_by_block(at)[0], hand.streams[2].var(correction=0))
    ends = [stream.square().sum().sqrt() for stream in (hand.streams[-1], hand.streams[0])]
    assert same(q.growth_exponent(at), (ends[0] / ends[1]).log() / DEPTH)


def test_the_streams_gradient_is_from_the_first_sublayer_to_the_last(pair):
    at, hand = pair
    norms = [gradient.square().sum().sqrt() for gradient in hand.stream_gradients]
    assert same(q.grad_stream_first_to_last(at), norms[1] / norms[2 * DEPTH])
    assert q.grad_stream_by_block(at) == pytest.approx([float(norms[2]), float(norms[4])], rel=1e-7)


def test_one_step(pair):
    at, hand = pair
    sgd = hand.change(lambda name, w: w - 1e-2 * hand.gradients[name])
    sign = hand.change(lambda name, w: w - 2e-5 * hand.gradients[name].sign())
    # sqrt(eps) of the change's own size: it is a difference of logits of size 1
    assert q.update_sgd(at) == pytest.approx(float(sgd.square().mean().sqrt()), rel=1e-6)
    assert q.update_sign(at) == pytest.approx(float(sign.square().mean().sqrt()), rel=1e-6)


def test_noise_changes_the_output_as_much_as_other_noise_of_its_size(pair):
    """The mean over draws of another generator; each matrix, q, k and v one by one, by 1 % of its std."""
    at, hand = pair
    generator = torch.Generator().manual_seed(1)

    def noisy(name, w):
        parts = w.chunk(3) if "qkv" in name else [w]
        draws = [torch.randn(part.shape, generator=generator, dtype=w.dtype) for part in parts]
        return torch.cat([p + 0.01 * p.std() * draw for p, draw in zip(parts, draws, strict=True)])

    draws = torch.stack([hand.change(noisy).square().mean() for _ in range(30)])
    found = q.noise_amplification(at)
    assert abs(math.log(found / draws.mean())) < 4 * float(draws.log().std())
    assert float(draws.log().std()) < 0.25


def test_noise_goes_by_the_std_of_q_k_and_v_each(begun, monkeypatch):
    """A matrix of zeros gets no noise, though the one it is stored with does."""
    at = begun({"depth": 1}, placement="pre")
    qkv = next(matrix for matrix in at.matrices if matrix.name.endswith("qkv.weight"))
    with torch.no_grad():
        qkv.parts[2].zero_()
    before, during = qkv.weight.detach().clone(), []
    real = q.output_change

    def watched(start, change):
        return real(start, lambda matrix: (change(matrix), during.append(qkv.weight.detach().clone())))

    monkeypatch.setattr(q, "output_change", watched)
    q.noise_amplification(at)
    noise = (during[-1] - before).chunk(3)
    assert noise[2].abs().max() == 0
    for part, weights in zip(noise[:2], before.chunk(3)[:2], strict=True):
        assert float(part.std() / weights.std()) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_measuring_puts_everything_back(placement, begun):
    """Every placement has every quantity, and measuring twice gives the same to the bit."""
    at = begun({"depth": 3, "model.width": 16, "model.heads": 2, "model.dropout": 0.1}, placement=placement)
    before = {name: value.clone() for name, value in at.model.named_parameters()}
    first = q.measure(at)
    assert all(torch.equal(before[name], value) for name, value in at.model.named_parameters())
    assert repr(q.measure(at)) == repr(first)
    assert list(first) == [*q.QUANTITIES, *q.PROFILES]
    # Fixup's head of zeros lets no gradient through: 0 / 0.
    lost = {"grad_stream_first_to_last"} if placement == "fixup" else set()
    assert {key for key in q.QUANTITIES if not math.isfinite(first[key])} == lost
    assert all(len(first[key]) == 3 for key in q.PROFILES)


@pytest.mark.parametrize("norm", ["batchnorm", "powernorm"])
def test_running_statistics_do_not_leak_from_one_quantity_into_the_next(norm, begun):
    at = begun({"depth": 2, "norm.allow_leaky": True}, norm=norm)
    together = q.measure(at)
    fresh = begun({"depth": 2, "norm.allow_leaky": True}, norm=norm)
    assert q.update_sign(fresh) == together["update_sign"]


def test_branches_that_start_at_zero_change_nothing(begun):
    """ReZero: no gradient reaches a matrix, so no step of the matrices moves the output, nor does noise."""
    at = begun({"depth": 2}, placement="rezero")
    assert (q.grad_last_ffn(at), q.update_sgd(at), q.update_sign(at), q.noise_amplification(at)) == (
        0,
        0,
        0,
        0,
    )
    assert q.grad_stream_first_to_last(at) == pytest.approx(1)
    assert q.growth_exponent(at) == 0


def test_settings_reach_the_quantities(begun):
    """To first order, twice the rate is twice the change, and twice the noise four times its square."""
    at = begun({"depth": 2})
    more = begun({"depth": 2}, ProbeConfig(noise=0.002, sgd_lr=2e-4, sign_lr=2e-6))
    less = begun({"depth": 2}, ProbeConfig(noise=0.001, sgd_lr=1e-4, sign_lr=1e-6))
    assert q.update_sgd(more) / q.update_sgd(less) == pytest.approx(2, rel=1e-2)
    assert q.update_sign(more) / q.update_sign(less) == pytest.approx(2, rel=1e-2)
    assert q.noise_amplification(more) / q.noise_amplification(less) == pytest.approx(4, rel=2e-2)
    assert q.update_sgd(at) > q.update_sgd(more)


def test_random_tokens_go_by_the_seed_and_targets_are_no_copy():
    one, same_seed, other = (q.random_batch(65, 4, 32, seed) for seed in (3, 3, 4))
    assert torch.equal(one.ids_BT, same_seed.ids_BT) and torch.equal(one.targets_BT, same_seed.targets_BT)
    assert not torch.equal(one.ids_BT, other.ids_BT)
    assert (one.ids_BT == one.targets_BT).double().mean() < 0.1
    many = q.random_batch(5, 100, 100, 0)
    counts = torch.bincount(torch.cat([many.ids_BT.flatten(), many.targets_BT.flatten()]))
    assert len(counts) == 5 and (counts / 4000 - 1).abs().max() < 0.1


def test_bf16_is_measured_under_autocast(begun):
    full, half = begun({"train.precision": "fp32"}), begun({"train.precision": "bf16"})
    assert half.logits_BTV.dtype == torch.float32
    assert 0 < (full.logits_BTV - half.logits_BTV).abs().max() < 0.1
