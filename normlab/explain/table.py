"""The diagnoses: one row each."""

from normlab.explain import accidents, attention, gradients, nonfinite, normalization, output, rate, stream
from normlab.explain.finding import Diagnosis

_ATTENTION = ("attention/max_logit", "attention/entropy_share")

DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        name="gradient_dies",
        meaning="the first block's gradient vanishes beside the last one's",
        find=gradients.dies_on_its_way_down,
        needs=("grad_norm",),
        measure="measure.grad_norm=1",
    ),
    Diagnosis(
        name="attention_saturates",
        meaning="attention's logits run away or its entropy collapses",
        find=attention.saturates,
        needs=_ATTENTION,
        measure="measure.attention=5",
    ),
    Diagnosis(
        name="rate_too_high",
        meaning="single steps change the weights by a large part of their norm",
        find=rate.too_high,
        needs=("update/ratio",),
        measure="measure.update=5",
    ),
    Diagnosis(
        name="rate_jumped",
        meaning="the learning rate itself jumps",
        find=accidents.jumped,
        sudden=True,
    ),
    Diagnosis(
        name="stream_explodes",
        meaning="the residual stream grows exponentially with depth",
        find=stream.grows_exponentially,
        needs=("stream/rms",),
        measure="measure.stream=5",
    ),
    Diagnosis(
        name="output_drifts",
        meaning="the output's logits drift as a whole",
        find=output.drifts,
        needs=("output/log_z",),
        measure="measure.output=5",
    ),
    Diagnosis(
        name="odd_batch",
        meaning="single odd batches of the text",
        find=output.odd_batch,
        sudden=True,
    ),
    Diagnosis(
        name="broke_at_once",
        meaning="not finite in one step, without a warning",
        find=nonfinite.broke_at_once,
        sudden=True,
    ),
    Diagnosis(name="overflowed", meaning="not finite after numbers had run away", find=nonfinite.overflowed),
    Diagnosis(
        name="one_layer_jumped",
        meaning="one layer's gradient alone was wrong in one step",
        find=accidents.one_layer_jumped,
        sudden=True,
        needs=("grad_norm",),
        measure="measure.grad_norm=1",
    ),
    Diagnosis(
        name="learns_nothing",
        meaning="a place gets no gradient, or no update",
        find=accidents.learns_nothing,
    ),
    Diagnosis(
        name="sees_the_future",
        meaning="a norm lets predictions see later tokens",
        find=normalization.sees_the_future,
        trouble=False,
    ),
    Diagnosis(
        name="modes_differ",
        meaning="a norm with running statistics does other things in evaluation",
        find=normalization.modes_differ,
        trouble=False,
    ),
    Diagnosis(
        name="branches_tiny",
        meaning="initial weights so small that a placement hardly matters",
        find=stream.branches_are_tiny,
        trouble=False,
    ),
)
