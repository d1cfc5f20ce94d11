"""Every preset: its header; that it builds, is causal or an encoder, trains, and yields to what is typed."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from normlab.catalogue import groups
from normlab.catalogue.datasets import DATASETS
from normlab.catalogue.norms import leak
from normlab.compose.from_words import compose
from normlab.data import load_corpus
from normlab.model.gpt import GPT
from normlab.run import check
from normlab.training.batch import predict
from normlab.training.build import build
from normlab.training.step import take_step

PRESETS = groups.options("preset")
PROMISED = """
    transformer gpt1 gpt2 opt_350m gptj neox palm falcon falcon_40b bloom glm130b cogview llama gemma gemma2
    gemma3 olmo olmo2 qwen3 nemotron cohere swin_v2 deepnet grok1 ngpt dyt_llama bert roberta xlnet
    transformer_encoder
"""
#: Those that see both ways, and so are trained on masked tokens.
ENCODERS = {"bert", "roberta", "transformer_encoder"}
VOCAB = 64


@cache
def composed(preset):
    """At the lab's size."""
    return compose([f"preset={preset}"])


def shallow(preset):
    """At depth 2, for three steps on a Markov text."""
    config = composed(preset)
    return replace(
        config,
        depth=2,
        data=replace(DATASETS["markov"].config, length=16384, objective=config.data.objective),
        train=replace(config.train, steps=3, device="cpu", threads=1),
    )


def test_every_promised_model_is_there():
    assert set(PROMISED.split()) <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_its_header_says_what_it_is_where_it_is_from_and_how_it_departs(preset):
    first, *lines = groups.files("preset")[preset].read_text().splitlines()
    comments = lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))]
    assert first == "# @package _global_"
    meaning, source, departures, *_ = comments
    assert meaning.startswith("# ") and not meaning.endswith(".")
    assert source.startswith("# Source: ") and any(char.isdigit() for char in source)
    assert departures.startswith("# Departures: ") and comments[-1].endswith(".")


@pytest.mark.parametrize("preset", PRESETS)
def test_at_the_lab_s_size_it_builds_and_is_causal_or_an_encoder(preset):
    config = composed(preset)
    defaults = groups.defaults()
    for key in ("depth", "seed"):
        assert getattr(config, key) == defaults[key]
    for key in ("width", "heads", "context"):
        assert getattr(config.model, key) == defaults["model"][key]
    torch.manual_seed(0)
    model = GPT(config, VOCAB)
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at 0 would hide the rest
            parameter.add_(0.05 * torch.randn_like(parameter))
        ids = torch.randint(VOCAB, (2, config.model.context))
        changed = ids.clone()
        changed[:, 40:] = (changed[:, 40:] + 1) % VOCAB
        before, after = model(ids), model(changed)
    assert not torch.equal(before[:, 40:], after[:, 40:])
    tolerance = 1e-4 if leak(config.norm) else 1e-6
    differs = (before[:, :40] - after[:, :40]).abs().max() > tolerance * before.abs().max()
    assert differs == (not config.model.causal) == (config.data.objective == "mlm") == (preset in ENCODERS)


@pytest.mark.parametrize("preset", PRESETS)
def test_three_steps_of_training_lower_the_loss(preset):
    config = shallow(preset)
    check(config)
    job = build(config, load_corpus(config.data, config.model.context))
    batch = torch.from_numpy(job.batches.train(0))

    def loss():
        logits, targets = predict(job, batch)
        return torch.nn.functional.cross_entropy(logits, targets).item()

    before = loss()
    for _ in range(config.train.steps):
        assert math.isfinite(take_step(job)["loss"])
        job.step += 1
    assert loss() < before


def test_what_is_typed_wins():
    config = compose(
        ["preset=llama", "norm=layernorm", "depth=4", "model.positions=learned", "train.z_loss=0.5"]
    )
    assert (config.norm.name, config.depth, config.model.positions) == ("layernorm", 4, "learned")
    assert (config.activation.name, config.placement.name, config.train.z_loss) == ("swiglu", "pre", 0.5)
    config = compose(["preset=bert", "init=fan_in", "placement=deepnorm", "model.tie=false", "depth=2"])
    assert (config.init.name, config.placement.name, config.model.tie) == ("fan_in", "deepnorm", False)
    assert (config.placement.embedding_norm, config.norm.eps) == (True, 1e-12)
