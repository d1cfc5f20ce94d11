"""What is refused under `train.parallel=fsdp`, and what is left out; test_ranks.py trains it."""

import subprocess
import sys

import pytest

from normlab import run as composition
from normlab.compose.from_words import compose
from normlab.errors import ConfigError
from normlab.model.gpt import GPT
from normlab.training.instruments import build_instruments
from normlab.training.passes import OwnPasses
from normlab.training.sharding import check_sharding

SMALL = ["depth=2", "model.width=16", "model.heads=2", "model.context=8", "train.parallel=fsdp"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["norm=dyt"], "a single number, as layers.0.attn.norm_in.alpha"),
        (["placement=rezero"], "a single number, as layers.0.*"),
        (["norm=batchnorm", "norm.allow_leaky=true"], "no statistics in common"),
        (["optimizer=muon"], "muon takes whole matrices"),
        (["placement=ngpt", "norm=l2norm"], "placement.weights=unit"),
        (["placement=sigma_reparam"], "placement.weights=sigma_reparam"),
        (["fault.kind=nan_gradient"], "cannot put a fault"),
        (["train.compile=true"], "train.compile=false"),
    ],
)
def test_what_needs_whole_tensors_is_refused_with_the_way_out(words, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_sharding(compose([*SMALL, *words]))
    assert caught.value.key == "train.parallel" and "ddp" in str(caught.value)


@pytest.mark.parametrize(
    "words", [["placement=deepnorm"], ["optimizer=lion", "norm=rmsnorm"], ["model.tie=true"]]
)
def test_what_can_be_shared_out_passes(words):
    check_sharding(compose([*SMALL, *words]))


def test_what_reads_whole_parameters_is_left_out_and_said():
    config = compose([*SMALL, "measure=full", "measure.gain=3", "measure.ablation=end"])
    model = GPT(config, 11)
    instruments = build_instruments(config, model, 2)
    assert instruments.left_out == tuple(
        f"measure.{key}: needs whole parameters; use train.parallel=ddp" for key in ("gain", "ablation")
    )
    kinds = {type(instrument).__name__ for _, instrument in instruments.every}
    assert "Gains" not in kinds and {"Stream", "StreamGradient", "AttentionMeasure"} <= kinds
    assert set(OwnPasses(config, 2).when.values()) == {"never"}
    # One process has all of them, whatever it is called.
    assert build_instruments(config, model).left_out == ()
    assert OwnPasses(config).when["ablation"] == "end"


#: One process with all parts, apart from this one: gloo's threads stay.
_STEPS = """
import sys, torch, torch.distributed as dist
from normlab.compose.from_words import compose
from normlab.model.gpt import GPT
from normlab.training.optimizers import build_optimizer
from normlab.training.sharding import Sharded

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
ids_BT = torch.arange(24).view(3, 8) % 11
for optimizer in "adam", "sgd", "lion":
    config = compose([*sys.argv[1:], f"optimizer={optimizer}"])
    left = []
    for world in None, Sharded(torch.device("cpu")):
        torch.manual_seed(0)
        model = GPT(config, 11)
        forward = model if world is None else world.wrap(model)
        steps = build_optimizer(model.named_parameters(), config.optimizer)
        for _ in range(3):
            forward(ids_BT).logsumexp(-1).mean().backward()
            steps.step()
            steps.zero_grad()
        left.append([p.detach() if world is None else p.full_tensor() for p in model.parameters()])
    torch.testing.assert_close(*left, rtol=1e-5, atol=1e-7)
    print(optimizer, flush=True)
dist.destroy_process_group()
"""


def test_every_optimizer_steps_parts_as_it_steps_the_whole():
    done = subprocess.run([sys.executable, "-c", _STEPS, *SMALL], capture_output=True, text=True, check=False)
    assert done.stdout == "adam\nsgd\nlion\n", done.stderr


def test_one_process_is_told_that_it_shares_nothing(small, tmp_path, capsys):
    composition.run(small({"train.parallel": "fsdp"}), tmp_path / "run", plain=True)
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("train.parallel=fsdp: one process shares nothing") == 1
