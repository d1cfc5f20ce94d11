"""Build a run: its config and its text become model, optimizer and instruments, on its device."""

import torch

from normlab.catalogue.optimizers import OPTIMIZERS
from normlab.config import RunConfig
from normlab.data import Batches, Corpus, build_objective, split
from normlab.divergence import RunFacts, Watch
from normlab.errors import ConfigError
from normlab.machine import ranks, threads
from normlab.measure.gradients import GradientNorms
from normlab.measure.layout import Layout
from normlab.measure.ring import Ring
from normlab.measure.updates import Updates
from normlab.model.gpt import GPT, fused, site
from normlab.training.fault import FAULTS
from normlab.training.instruments import build_instruments
from normlab.training.job import Job
from normlab.training.optimizers import build_optimizer
from normlab.training.passes import OwnPasses
from normlab.training.world import Alone


def pick_device(name: str) -> torch.device:
    """The device that `train.device` names; `auto` is the first of cuda, mps, cpu.

    Raises:
        ConfigError: it is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, ok in there.items() if ok)
    if not there[name]:
        found = ", ".join(kind for kind, ok in there.items() if ok)
        raise ConfigError(
            "train.device", f"this machine has no {name} device; it has {found}. Use train.device=auto"
        )
    own = name == "cuda" and ranks.size() > 1
    return torch.device(name, ranks.local_rank()) if own else torch.device(name)


def build(config: RunConfig, corpus: Corpus, world: Alone | None = None) -> Job:
    """Model, optimizer and instruments at the first step; sets torch's threads and seed."""
    device, world = pick_device(config.train.device), world or Alone()
    torch.set_num_threads(threads.of(config.train.threads))
    torch.set_flush_denormal(True)
    torch.manual_seed(config.seed + world.rank)  # dropout: each share of a batch has its own
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    model = GPT(config, corpus.vocab).to(device, dtype)
    objective = build_objective(config.data, corpus.mask)
    batches = Batches(corpus, config.seed, config.train.batch_size, config.model.context, objective)
    if config.placement.profile:
        model.profile(split(torch.from_numpy(batches.train(0)).to(device))[0])
    if config.train.compile:
        model.compile()
    instruments = build_instruments(config, model, world.size)
    instruments.share(world.gather)
    forward = world.wrap(model)  # may put others in the parameters' place
    layout, least = Layout(model, site), OPTIMIZERS[config.optimizer.name].least(config.optimizer)
    layout.total = world.total
    facts = RunFacts(
        floors=corpus.floors.as_dict(),
        warmup=config.warmup,
        steps=config.train.steps,
        least=least,
        sizes=layout.sizes,
    )
    return Job(
        config=config,
        device=device,
        batches=batches,
        model=model,
        world=world,
        forward=forward,
        optimizer=build_optimizer(model.named_parameters(), config.optimizer, fused(model)),
        layout=layout,
        gradients=GradientNorms(layout),
        updates=Updates(layout, least),
        instruments=instruments,
        watch=Watch(config.divergence, facts),
        fault=FAULTS[config.fault.kind](config.fault, model),
        ring=Ring(config.measure.ring),
        passes=OwnPasses(config, world.size),
    )
