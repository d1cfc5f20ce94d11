"""The probe beside reference values: `python scripts/probe_table.py [STUDY ...]`, five minutes on one core.

The references were measured with other code. Each study's settings are in `conf/experiment/STUDY.yaml`. A
value counts as reproduced within twice its error bar: that of the reference where it has one, else the
standard deviation over our seeds. Exits with 1 if one is not and no reason is known.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from normlab.launch.probe_plan import plan
from normlab.probe import session

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A slope, or a value `at` a depth; `known` says why ours may differ."""

    quantity: str
    value: float
    sd: float | None = None
    at: int | None = None
    known: str = ""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Words of the command, and by group what is to come out."""

    words: str
    expected: dict[str, list[Reference]] = field(default_factory=dict)


def gradients(
    last: tuple[float, ...], first: tuple[float, ...], variance: tuple[float, ...], ratio: tuple[float, ...]
) -> list[Reference]:
    """A row of the table of gradients: (mean) or (mean, sd) of each column; the ratio is at depth 32."""
    columns = (
        ("grad_last_ffn", last, None),
        ("grad_first_ffn", first, None),
        ("stream_variance", variance, None),
        ("grad_stream_first_to_last", ratio, 32),
    )
    return [Reference(quantity=name, value=v[0], sd=(*v, None)[1], at=at) for name, v, at in columns if v]


def slopes(**expected: tuple[float, ...]) -> list[Reference]:
    """(mean) or (mean, sd) of slopes by quantity."""
    return [Reference(quantity=name, value=v[0], sd=(*v, None)[1]) for name, v in expected.items()]


def noise(value: float, known: str = "") -> list[Reference]:
    return [Reference(quantity="noise_amplification", value=value, known=known)]


def update(sign: tuple[float, float], sgd: tuple[float, float]) -> list[Reference]:
    return slopes(update_sign=sign, update_sgd=sgd)


def ratios(*values: float) -> list[Reference]:
    """Of the stream's gradients at depth 4, 8, 16, 32."""
    return [
        Reference(quantity="grad_stream_first_to_last", value=value, at=depth)
        for depth, value in zip((4, 8, 16, 32), values, strict=True)
    ]


_SHALLOW = (
    "reproduced over depths 2 to 16 (depth=2,4,8,16), or with q, k and v drawn as one Xavier matrix; "
    "the reference has three seeds"
)
_TAIL = "attention saturates and seeds differ by 10^4: 1 of 40 is beyond the reference in fp32, none in fp64"
_FP32 = "NaN in fp32, where the backward pass overflows (train.precision=fp32); finite in fp64"

STUDIES = {
    "probe_gradients": Study(
        words="experiment=probe_gradients",
        expected={
            "post": gradients((0.13, 0.13), (0.10, 0.35), (0,), (2.1, 1.3)),
            "pre": gradients((-0.46, 0.07), (0.00, 0.04), (1.01, 0.04), (7.9, 0.6)),
            "lns": gradients((-0.67, 0.03), (0.02,), (0.23, 0.01), (2.6, 0.1)),
            "mix_ln": gradients((-0.43, 0.12), (0.04, 0.22), (), (11, 6)),
            "sandwich": gradients((-0.39, 0.05), (0.04,), (0.96, 0.04), (5.9, 0.5)),
            "deepnorm": gradients((-0.535, 0.009), (-0.53,), (0,), (0.980, 0.003)),
            "admin_const": gradients((-0.23, 0.07), (-0.33,), (0,), (0.98, 0.14)),
            "keel": gradients((-0.997, 0.017), (-0.99,), (0,), (0.980,)),
        },
    ),
    "probe_gradients, scaled": Study(
        words="experiment=probe_gradients placement=pre init.gains=gpt2",
        expected={"pre": gradients((0.00, 0.03), (0.06,), (0.28, 0.01), (1.5,))},
    ),
    "probe_noise": Study(
        words="experiment=probe_noise",
        expected={
            "post": noise(1.01),
            "pre": noise(0.71, _SHALLOW),
            "lns": noise(0.36),
            "sandwich": noise(0.45, _SHALLOW),
            "deepnorm": noise(-0.51),
            "admin_const": noise(0.51),
            "keel": noise(-1.01),
        },
    ),
    "probe_noise, scaled": Study(
        words="experiment=probe_noise placement=pre init.gains=gpt2", expected={"pre": noise(0.04)}
    ),
    "probe_noise, inverted": Study(
        words="experiment=probe_noise placement=deepnorm init.gains=deepnorm_inverted",
        expected={
            "deepnorm": [
                *noise(0.62),
                *gradients((-0.16,), (-0.32,), (0,), (1.4,)),
            ]
        },
    ),
    "probe_noise, no norm": Study(
        words="experiment=probe_noise placement=none placement.final_norm=true",
        expected={
            "none": [
                *slopes(grad_last_ffn=(0.20,)),
                Reference(quantity="stream_variance", value=2.7e13, at=32),
                Reference(quantity="grad_first_ffn", value=65, at=8),
                Reference(quantity="grad_first_ffn", value=9.8e4, at=16, known=_TAIL),
                Reference(quantity="grad_first_ffn", value=math.nan, at=32, known=_FP32),
            ]
        },
    ),
    "probe_update": Study(
        words="experiment=probe_update",
        expected={
            "post": update((1.30, 0.12), (1.28, 0.23)),
            "pre": update((0.97, 0.11), (0.96, 0.22)),
            "lns": update((0.70, 0.09), (0.53, 0.15)),
            "sandwich": update((0.87, 0.09), (0.77, 0.16)),
            "deepnorm": update((0.50, 0.04), (0.01, 0.05)),
            "admin_const": update((0.97, 0.14), (0.79, 0.23)),
            "keel": update((0.00, 0.04), (-0.99, 0.05)),
        },
    ),
    "probe_update, scaled": Study(
        words="experiment=probe_update placement=pre init.gains=gpt2",
        expected={"pre": update((1.01, 0.09), (1.06, 0.12))},
    ),
    "probe_small_init": Study(
        words="experiment=probe_small_init",
        expected={
            "post std=0.02": slopes(grad_last_ffn=(0.01,)),
            "pre std=0.02": [
                *slopes(grad_last_ffn=(0.00,)),
                Reference(quantity="stream_variance", value=1.03, at=32),
            ],
            "post std=0.125": slopes(grad_last_ffn=(0.17,)),
            "pre std=0.125": [
                *slopes(grad_last_ffn=(-0.48,)),
                Reference(quantity="stream_variance", value=84, at=32),
            ],
        },
    ),
    "probe_qk_norm": Study(
        words="experiment=probe_qk_norm",
        expected={
            "res_post qk_norm=none": ratios(3.6, 10, 45, 599),
            "res_post qk_norm=head": ratios(1.9, 2.6, 3.5, 5.7),
        },
    ),
}


def measure(title: str, study: Study) -> list[tuple[str, Reference, float, float]]:
    """(group, reference, our mean, our standard deviation over seeds) of every reference of a study."""
    planned = plan(study.words.split())
    torch.set_flush_denormal(True)
    rows: list[Row] = []
    for cell, config in track(planned.models(), title, console=Console(stderr=True), transient=True):
        label = {"group": session.name(cell.group), **cell.group, "depth": config.depth, "seed": config.seed}
        rows.append(label | session.measure_model(config, planned.settings))
    fitted = {(session.name(each.group), each.quantity): each for each in session.fit(planned, rows)}
    found = []
    for group, references in study.expected.items():
        for reference in references:
            if reference.at is None:
                slope = fitted[group, reference.quantity]
                mean, sd = slope.mean, slope.sd
                assert mean is not None and sd is not None, slope.problem
            else:
                mean, sd = value_at(rows, group, reference)
            found.append((group, reference, mean, sd))
    return found


def value_at(rows: Sequence[Row], group: str, reference: Reference) -> tuple[float, float]:
    values = [
        float(row[reference.quantity])
        for row in rows
        if row["group"] == group and row["depth"] == reference.at
    ]
    return statistics.mean(values), statistics.stdev(values)


def reproduced(reference: Reference, mean: float, sd: float) -> bool:
    """Within twice the error bar, and half a unit of the reference's last printed digit."""
    digits = len(f"{reference.value:g}".partition(".")[2]) if abs(reference.value) < 1e3 else 0
    rounding = 0.5 * 10**-digits if reference.value else 0.005
    return abs(mean - reference.value) <= 2 * (reference.sd or sd) + rounding


def verdict(reference: Reference, mean: float, sd: float) -> str:
    if reproduced(reference, mean, sd):
        return "yes"
    return f"no: {reference.known}" if reference.known else "NO"


def show(title: str, found: Sequence[tuple[str, Reference, float, float]]) -> int:
    """Print a study's table; returns how many of its values differ for no known reason."""
    table = Table("models", "quantity", "reference", "ours", "reproduced", title=title, title_justify="left")
    bad = 0
    for group, reference, mean, sd in found:
        where = "slope" if reference.at is None else f"at depth {reference.at}"
        bar = "" if reference.sd is None else f" ± {reference.sd:g}"
        word = verdict(reference, mean, sd)
        bad += word == "NO"
        table.add_row(
            group,
            f"{reference.quantity}, {where}",
            f"{reference.value:+.4g}{bar}",
            f"{mean:+.4g} ± {sd:.2g}",
            word,
        )
    Console().print(table)
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", help="such as probe_noise; all without")
    wanted = parser.parse_args().studies
    chosen: Mapping[str, Study] = {
        title: study for title, study in STUDIES.items() if not wanted or title.split(",")[0] in wanted
    }
    if not chosen:
        sys.exit(f"there are {', '.join(dict.fromkeys(title.split(',')[0] for title in STUDIES))}")
    bad = sum(show(title, measure(title, study)) for title, study in chosen.items())
    sys.exit(f"{bad} values differ" if bad else 0)


if __name__ == "__main__":
    main()
