"""Which instruments a run has, and where in its model they look."""

from normlab.config import RunConfig
from normlab.measure.attention import Attention
from normlab.measure.gains import Gains
from normlab.measure.hidden import Hidden, Saturation
from normlab.measure.instrument import Instrument, Instruments
from normlab.measure.output import Output
from normlab.measure.stream import Blocks, Stream, StreamGradient
from normlab.model import GPT
from normlab.sites import gains, sites
from normlab.tables.activations import ACTIVATIONS


def build_instruments(config: RunConfig, model: GPT, processes: int = 1) -> Instruments:
    """The instruments of `measure` that look at forward and backward passes."""
    where, every = sites(model), config.measure
    like = model.embedding.tokens.weight
    micro = config.train.batch_size // (config.train.accumulation * processes)
    zeros = like.new_zeros(micro, config.model.context, config.model.width)
    bounds = ACTIVATIONS[config.activation.name].bounds
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
    return Instruments(instruments)
