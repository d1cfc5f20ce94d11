"""Which instruments a run has, where in its model they look, and which it cannot have."""

from normlab.catalogue.activations import ACTIVATIONS
from normlab.catalogue.groups import GROUPS
from normlab.catalogue.norms import NORMS
from normlab.catalogue.placement_row import norms
from normlab.config import MEASURED, PASSES, MeasureConfig, RunConfig
from normlab.measure.attention import AttentionMeasure
from normlab.measure.curves import SaturatedNorms
from normlab.measure.gains import Gains
from normlab.measure.hidden import Hidden, Saturation
from normlab.measure.instrument import Instrument, Instruments
from normlab.measure.output import Output
from normlab.measure.running import RunningGap
from normlab.measure.shift import CovariateShift
from normlab.measure.stream import Blocks, SecondStream, Stream, StreamGradient
from normlab.model.gpt import GPT
from normlab.model.sites import gains, sites

#: What reads parameters by themselves, and so needs them whole.
WHOLE = ("gain", *PASSES)


def build_instruments(config: RunConfig, model: GPT, processes: int = 1) -> Instruments:
    """The instruments of `measure` that look at forward and backward passes."""
    where = sites(model)
    like = model.embedding.tokens.weight
    micro = config.train.batch_size // (config.train.accumulation * processes)
    zeros = like.new_zeros(micro, config.model.context, config.model.width)
    bounds, bound = ACTIVATIONS[config.activation.name].bounds, NORMS[config.norm.name].bound
    there: list[tuple[str, Instrument]] = [
        ("stream", Stream(where.residual)),
        ("stream", Blocks(where.stream)),
        ("grad_stream", StreamGradient(where.stream, zeros)),
        ("covariate_shift", CovariateShift(where.inputs)),
        (
            "attention",
            AttentionMeasure(where.attention, config.model.heads, where.finish, config.model.causal),
        ),
        ("hidden", Hidden(where.hidden)),
        ("output", Output()),
    ]
    if where.second:
        blocks = {
            name.removesuffix("/ffn"): site for name, site in where.second.items() if name.endswith("/ffn")
        }
        there.append(("stream", SecondStream(where.second)))
        there.append(("grad_stream", StreamGradient(blocks, zeros, "grad_second_stream")))
    shared = processes > 1 and config.train.parallel == "fsdp"
    if (learned := gains(model)) and not shared:
        there.append(("gain", Gains(learned)))
    if bounds is not None:
        there.append(("hidden", Saturation(where.hidden, *bounds)))
    if bound is not None and where.curves:
        there.append(("norm", SaturatedNorms(where.curves, bound)))
    if where.running:
        there.append(("batchnorm", RunningGap(where.running)))
    missing = {
        "gain": not learned,
        "norm": not where.curves,
        "batchnorm": not where.running,
        "noise_scale": config.train.accumulation * processes < 2,
    }
    padded = config.data.lengths == "padded"
    missing |= {"attention": padded, "noise_scale": missing["noise_scale"] or padded}
    every = [(getattr(config.measure, key), instrument) for key, instrument in there if not missing.get(key)]
    lacking = [key for key, lacks in missing.items() if lacks and not (shared and key in WHOLE)]
    return Instruments(every, left_out(config, lacking, WHOLE if shared else ()))


def left_out(config: RunConfig, missing: list[str], whole: tuple[str, ...] = ()) -> list[str]:
    """A sentence for each key of `measure` that was asked for and of which something is `missing`, or that
    needs parameters that are not `whole`."""
    norm = f"norm={config.norm.name}"
    if not norms(config.placement, config.depth):
        norm = f"placement={config.placement.name}, without a norm,"
    why = {
        "gain": f"{norm} has no gains",
        "norm": f"{norm} has no curve that could saturate",
        "batchnorm": f"{norm} has no running statistics",
        "noise_scale": "needs micro-batches; set train.accumulation=2 or more",
    }
    if config.data.lengths == "padded":
        why |= dict.fromkeys(("attention", "noise_scale"), "is not told of padding; use data.lengths=packed")
    why |= dict.fromkeys(whole, "needs whole parameters; use train.parallel=ddp")
    return [f"measure.{key}: {why[key]}" for key in [*missing, *whole] if key in asked(config.measure)]


def asked(measure: MeasureConfig) -> list[str]:
    """The keys that were asked for by themselves: their cadence, or their when, is not that of the preset.

    What a preset brings along and does not apply needs no word. A preset of one's own is compared with
    `standard`.
    """
    rows = GROUPS["measure"].rows
    preset = rows.get(measure.name, rows["standard"]).config
    keys = (*MEASURED, *PASSES)
    return [key for key in keys if getattr(measure, key) not in (0, "never", getattr(preset, key))]
