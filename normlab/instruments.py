"""Which instruments a run has, and where in its model they look."""

from normlab.config import RunConfig
from normlab.measure.attention import Attention
from normlab.measure.curves import SaturatedNorms
from normlab.measure.gains import Gains
from normlab.measure.hidden import Hidden, Saturation
from normlab.measure.instrument import Instrument, Instruments
from normlab.measure.output import Output
from normlab.measure.running import RunningGap
from normlab.measure.stream import Blocks, Stream, StreamGradient
from normlab.model import GPT
from normlab.sites import gains, sites
from normlab.tables.activations import ACTIVATIONS
from normlab.tables.norms import NORMS


def build_instruments(config: RunConfig, model: GPT) -> Instruments:
    """The instruments of `measure` that look at forward and backward passes."""
    where, every = sites(model), config.measure
    like = model.embedding.tokens.weight
    micro = config.train.batch_size // config.train.accumulation
    zeros = like.new_zeros(micro, config.model.context, config.model.width)
    bounds, bound = ACTIVATIONS[config.activation.name].bounds, NORMS[config.norm.name].bound
    instruments: list[tuple[int, Instrument]] = [
        (every.stream, Stream(where.residual)),
        (every.stream, Blocks(where.stream)),
        (every.grad_stream, StreamGradient(where.stream, zeros)),
        (every.attention, Attention(where.attention, config.model.heads, where.finish)),
        (every.hidden, Hidden(where.hidden)),
        (every.output, Output()),
    ]
    if norms := gains(model):
        instruments.append((every.gain, Gains(norms)))
    if bounds is not None:
        instruments.append((every.hidden, Saturation(where.hidden, *bounds)))
    if bound is not None and where.curves:
        instruments.append((every.norm, SaturatedNorms(where.curves, bound)))
    if where.running:
        instruments.append((every.batchnorm, RunningGap(where.running)))
    return Instruments(instruments)
