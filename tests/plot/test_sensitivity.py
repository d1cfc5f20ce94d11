"""The final loss against a knob: the same figures as `normlab compare` has."""

import math

import pytest

from normlab.compare.axes import sensitivity
from normlab.compare.study import CompareOptions, Study
from normlab.figures import image
from normlab.plot.sensitivity import sensitivities, sensitivity_curves
from normlab.runs.reader import load

RATES = (1e-3, 3e-3, 1e-2)


@pytest.fixture
def study(tmp_path, write):
    """Two placements at three rates with two seeds; one of post's at 1e-2 is no number at the end."""
    for placement, best in (("pre", 2.0), ("post", 2.2)):
        for number, rate in enumerate(RATES):
            for seed in (0, 1):
                broken = placement == "post" and number == 2 and seed == 1
                write(
                    tmp_path / f"{placement}-{number}-{seed}",
                    "NaN" if broken else best + 0.1 * number + 0.02 * seed,
                    seed=seed,
                    placement=placement,
                    optimizer__lr=rate,
                    summary={"outcome": "nonfinite"} if broken else {},
                )
    return Study(load(tmp_path), CompareOptions())


def test_a_run_that_diverged_counts_as_ln_v(study):
    curves = {curve.label: curve.points for curve in sensitivities(study)}
    assert [point.value for point in curves["post"]] == list(RATES)
    assert list(curves["post"][2].losses) == [pytest.approx(2.4), 5.5] and curves["post"][2].capped == 1
    assert [point.capped for point in curves["pre"]] == [0, 0, 0]
    # S of the table is the mean of these losses over their lowest, seed by seed.
    rows = {row["placement"]: row for row in sensitivity(study).rows}
    seeds = list(zip(*(point.losses for point in curves["post"]), strict=True))
    expected = sum(sum(losses) / 3 - min(losses) for losses in seeds) / 2
    assert rows["post"]["sensitivity"].value == pytest.approx(expected)


def test_the_curve_goes_through_the_means_with_its_band(study):
    figure = sensitivity_curves(sensitivities(study), "optimizer.lr", {"unigram": 3.1, "uniform": 99.0})
    (axes,) = figure.axes
    means = {line.get_color(): line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 3}
    assert [list(map(float, values)) for values in means.values()] == [
        pytest.approx([2.21, 2.31, 3.95]),
        pytest.approx([2.01, 2.11, 2.21]),
    ] or [list(map(float, values)) for values in means.values()] == [
        pytest.approx([2.01, 2.11, 2.21]),
        pytest.approx([2.21, 2.31, 3.95]),
    ]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.001", "0.003", "0.01"]
    assert axes.get_xlabel().startswith("optimizer.lr") and "nats" in axes.get_ylabel()
    assert [text.get_text() for text in axes.texts] == ["unigram 3.100"]  # ln V is far off
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(legend[:2]) == {"pre", "post"}
    assert "a run diverged: counts as ln V, a uniform guess" in legend
    tops = [shade.get_paths()[0].vertices[:, 1].max() for shade in axes.collections]
    assert max(tops) == pytest.approx(5.5)
    image(figure)


def test_another_knob_may_lie_across_and_start_at_zero(tmp_path, write):
    for warmup in (0, 10, 20):
        write(tmp_path / str(warmup), 3.0 - warmup / 100, warmup=warmup)
    (curve,) = sensitivities(Study(load(tmp_path), CompareOptions()), "warmup")
    assert [point.value for point in curve.points] == [0, 10, 20]
    figure = sensitivity_curves([curve], "warmup", {})
    assert figure.axes[0].get_xscale() == "linear"
    assert not any(math.isnan(value) for value in figure.axes[0].get_ylim())
