"""Non-finite numbers: which site is named, and one event an onset."""

import math
from collections.abc import Callable

import pytest

from normlab.divergence import Event
from normlab.divergence.nonfinite import backward_rank

Fold = Callable[..., list[Event]]
NAN, INF = math.nan, math.inf


def test_a_run_of_bad_rows_is_one_event(fold: Fold) -> None:
    first, second = fold([3.0, NAN, INF, NAN, 3.0, 3.0, NAN])
    assert (first.step, first.kind, first.metric, first.layers) == (1, "nonfinite", "loss", ())
    assert (first.end, first.recovered, first.recovery_steps) == (4, True, 3)
    assert math.isnan(first.value) and first.threshold == INF
    assert (second.step, second.end, second.recovered) == (6, None, None)
    assert "nan" in first.message and "step 1" not in first.message


def test_a_sum_of_squares_that_overflows_is_told_from_a_broken_number(fold: Fold) -> None:
    row = {"loss": 3.0, "grad_norm/global": INF, "grad_norm/head": INF, "nonfinite/gradient": 1.0}
    (event,) = fold([row])
    assert "its numbers are finite" in event.message and event.layers == ("head",)
    (event,) = fold([row | {"nonfinite/gradient/head": 2.0}])
    assert "its numbers are finite" not in event.message


SITES = [
    "head",
    "final_norm",
    "layer_11/ffn.out",
    "layer_11/ffn.in",
    "layer_11/attn.out",
    "layer_11/attn.qkv",
    "layer_11/norm",
    "layer_11/scale",
    "layer_11",
    "layer_02/ffn.out",
    "layer_02/norm",
    "layer_02",
    "embedding",
]


def test_sites_sort_as_the_backward_pass_reaches_them() -> None:
    mixed = [*SITES[1::2], *SITES[::2]]
    assert sorted(mixed, key=backward_rank) == SITES


@pytest.mark.parametrize("first", range(len(SITES)))
def test_the_first_bad_gradient_in_backward_order_is_named(fold: Fold, first: int) -> None:
    row = {"loss": 3.0, "lr": 1.0, "grad_norm/global": NAN}
    row |= {f"grad_norm/{site}": NAN if i >= first else 1.0 for i, site in enumerate(SITES)}
    (event,) = fold([row])
    assert event.metric == f"grad_norm/{SITES[first]}"
    assert event.layers == (SITES[first].split("/")[0],)


def test_parameters_come_before_the_loss_and_the_loss_before_gradients(fold: Fold) -> None:
    gradients = {"grad_norm/global": NAN, "grad_norm/head": NAN}
    (event,) = fold([{"loss": INF, **gradients}])
    assert (event.metric, event.value) == ("loss", INF)
    (event,) = fold([{"loss": NAN, **gradients, "nonfinite/parameter": "layer_01/ffn.out"}])
    assert (event.metric, event.layers) == ("nonfinite/parameter", ("layer_01",))
    assert "layer_01/ffn.out" in event.message


def test_the_global_norm_is_named_only_where_no_site_is(fold: Fold) -> None:
    (event,) = fold([{"loss": 3.0, "grad_norm/global": INF, "grad_norm/head": 1e30}])
    assert (event.metric, event.value, event.layers) == ("grad_norm/global", INF, ())
    (event,) = fold([{"loss": 3.0, "grad_norm/global": NAN}])
    assert event.metric == "grad_norm/global"


def test_norms_made_from_others_are_no_sites(fold: Fold) -> None:
    """A ratio of two zeros is no trouble of the run's; a clipped norm follows the global one."""
    assert fold([{"loss": 3.0, "grad_norm/global": 1.0, "grad_norm/first_to_last": NAN}]) == []
    assert fold([{"loss": 3.0, "grad_norm/first_to_last": INF}]) == []
    row = {"loss": 3.0, "grad_norm/global": INF, "grad_norm/clipped": NAN, "grad_norm/first_to_last": NAN}
    (event,) = fold([row])
    assert (event.metric, event.layers) == ("grad_norm/global", ())
    (event,) = fold([row | {"grad_norm/layer_00": INF}])
    assert (event.metric, event.layers) == ("grad_norm/layer_00", ("layer_00",))
    (event,) = fold([{"loss": 3.0, "grad_norm/head": NAN}])
    assert event.metric == "grad_norm/head"


def test_where_it_began_is_told(fold: Fold) -> None:
    trace = {"nonfinite/site": "layer_05/ffn.in", "nonfinite/pass": "forward"}
    range_ = {"nonfinite/input_min": -2.0, "nonfinite/input_max": 3.5e38}
    (event,) = fold([{"loss": NAN, **trace, **range_}])
    assert (event.metric, event.layers) == ("loss", ("layer_05",))
    assert (
        "it began in layer_05/ffn.in, in the forward pass, from numbers between -2 and 3.5e+38"
        in event.message
    )
    (event,) = fold([{"loss": NAN, **trace}])
    assert event.message.endswith("in the forward pass")
