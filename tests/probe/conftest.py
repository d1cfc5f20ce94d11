import pytest
import torch

from normlab.probe import session
from normlab.probe.settings import ProbeConfig

#: The probe's own model, in double precision as there.
CHANGES = {
    "model.width": 64,
    "model.heads": 4,
    "model.context": 16,
    "model.positions": "none",
    "init.gain": 1.0,
    "init.embedding_std": 1.0,
    "init.head_std": 0.125,
    "train.batch_size": 2,
    "train.precision": "fp64",
}


@pytest.fixture
def probe_config(small):
    """`probe_config({"depth": 8}, placement="post")`: the config of a model that is probed, smaller."""
    return lambda changes=None, **rows: small(CHANGES | (changes or {}), **rows)


@pytest.fixture
def begun(probe_config):
    """`begun({"depth": 8}, placement="post")`: that model after its passes."""
    threads = torch.get_num_threads()

    def begin(changes=None, settings=None, **rows):
        return session.begin(probe_config(changes, **rows), settings or ProbeConfig())

    yield begin
    torch.set_num_threads(threads)
