import dataclasses
import io
import re

import pytest
from rich.console import Console

from normlab.catalogue.norms import NORMS
from normlab.catalogue.placements import PLACEMENTS
from normlab.describe import page, saved, side_by_side
from normlab.describe.facts import describe

VOCAB = 11


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(saved, "activations", lambda model, config: 3 << 20)


def printed(parts, width=80, encoding="utf-8"):
    """What a terminal of that width shows; `parts` gets its console."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, highlight=False)
    page.show(parts(console), console)
    file.flush()
    text = file.buffer.getvalue().decode(encoding)
    assert max(map(len, text.splitlines())) <= width
    return "\n".join(line.rstrip() for line in text.splitlines())


def shown(config, **more):
    found = describe(config, VOCAB)
    return printed(lambda console: page.sections(found, console), **more)


def side(title, config):
    return side_by_side.Side(title=title, config=config, found=describe(config, VOCAB))


def compared(this, against, **more):
    sides = side("this one", this), side("the other", against)
    return printed(lambda console: side_by_side.sections(*sides, console), **more)


def section(text, title):
    """The lines under a heading."""
    return re.split(r"\n\n(?=\S)", text.partition(f"\n{title}\n")[2])[0].split("\n")


def test_the_page_of_deepnorm(small):
    text = shown(small({"depth": 24}, placement="deepnorm"))
    titles = ["Equations", "Block", "Constants", "Initial standard deviations", "Parameters", "FLOPs"]
    for title in [*titles, "Memory of a training step", "Notes"]:
        assert f"\n{title}\n" in text
    assert "deepnorm, layernorm, gelu: depth 24, width 16, 2 heads" in text
    assert "vocabulary 11 (as --vocab says)" in " ".join(text.split())
    assert "x' = N(2.632 * x + A(x))" in text and "Wang et al. 2022, arXiv 2203.00555" in text
    assert "  1-24         2.632" in section(text, "Constants")
    assert section(text, "Initial standard deviations")[2].split() == ["x0.2686"] * 4
    assert "- published with a warm-up, and this config has none: warmup=2" in text


def test_numbers_are_those_of_the_description(small):
    config = small({"depth": 3}, placement="pre")
    found, text = describe(config, VOCAB), shown(config)
    rows = {line.split("  ")[1].strip(): line.split() for line in section(text, "Parameters")[1:]}
    for part, number in found.parameters.items():
        assert f"{number:,}" in rows[part]
    assert rows["attn.q"][1:] == ["256", "768", f"{768 / found.total:.1%}"]
    assert rows["total"][-1] == f"{found.total:,}"
    flops = "\n".join(section(text, "FLOPs"))
    assert f"{found.flops.forward:,}" in flops and f"{found.flops.six_n:,}" in flops
    assert "3.00 MiB" in text and "4 sequences of 8 tokens, fp32" in text


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_placement_fits_80_columns(name, small):
    found = describe(small({"depth": 4}, placement=name, activation="swiglu"), VOCAB)
    text = printed(lambda console: page.sections(found, console))
    for structure in found.structures:
        assert all(line.strip() in text for line in structure.drawing)


def test_what_only_ascii_can_show_is_ascii(small):
    for name in ("ngpt", "siamese", "b2t", "parallel_two"):
        assert shown(small({}, placement=name), encoding="ascii").isascii()


def test_a_leaky_norm_is_said_to_be(small):
    text = " ".join(shown(small({}, norm="batchnorm")).split())
    assert "causal in training no: its training statistics run over" in text
    assert "- LEAKY: batchnorm lets predictions see the future in training" in text


def test_blocks_that_differ_are_told_apart(small):
    text = shown(small({"depth": 8}, placement="mix_ln"))
    assert "blocks 1-2" in text and "blocks 3-8" in text
    lines = section(text, "Blocks")
    assert re.search(r"blocks 1-2 +blocks 3-8", lines[0]), "side by side"
    narrow = section(shown(small({"depth": 8}, placement="mix_ln"), width=50), "Blocks")
    assert narrow[0].strip() == "blocks 1-2" and any(line.strip() == "blocks 3-8" for line in narrow)


def test_a_comparison_has_what_differs_and_nothing_else(small):
    this, against = small({}, placement="post"), small({"train.clip": 1.0}, placement="post", norm="rmsnorm")
    text = compared(this, against)
    rows = [line.split() for line in section(text, "Settings")[1:]]
    assert rows == [["norm", "layernorm", "rmsnorm"], ["train.clip", "-", "1"]]
    assert "\nEquations\n" not in text and "\nBlocks\n" not in text
    assert "\nInitial standard deviations\n" not in text
    numbers = {line.split("  ")[1]: line.split() for line in section(text, "Parameters, FLOPs, memory")[1:]}
    assert numbers["parameters, norm"][-3:] == ["128", "64", "2.000"]
    assert not any("FLOPs" in name for name in numbers) and "parameters, attn.q" not in numbers


def test_equations_and_drawings_stand_side_by_side(small):
    text = compared(small({}, placement="pre"), small({}, placement="gemma2"))
    lines = section(text, "Equations")
    assert re.search(r"attention +x' = x \+ A\(N\(x\)\) +x' = x \+ N_out\(A\(N_in\(x\)\)\)", lines[1])
    assert re.search(r"this +against", section(text, "Blocks")[0])
    wide = compared(small({}, placement="parallel_two"), small({}, placement="ngpt"), width=70)
    titles = [line.strip() for line in section(wide, "Blocks")]
    assert titles[0] == "this" and "against" in titles, "one after the other where there is no room"


def test_block_structures_are_compared_by_their_blocks(small):
    text = compared(small({"depth": 4}, placement="mix_ln"), small({"depth": 4}, placement="pre"))
    names = [line[2:28].strip() for line in section(text, "Equations")]
    assert "attention, block 1" in names and "feed-forward, blocks 2-4" in names


def test_initial_weights_that_change_over_the_blocks_have_two_lines(small):
    text = compared(small({"depth": 4}, placement="ds_init"), small({"depth": 4}, placement="post"))
    names = [line.split("  ")[1] for line in section(text, "Initial standard deviations")[1:]]
    assert "attn.q, last block" in names and "attn.q, first block" not in names
    steady = compared(small({"depth": 4}, placement="deepnorm"), small({"depth": 4}, placement="post"))
    names = [line.split("  ")[1] for line in section(steady, "Initial standard deviations")[1:]]
    assert names == ["attn.v", "attn.out", "ffn.in", "ffn.out"]


def test_twins_are_said_to_be(small):
    assert "Nothing differs." in compared(small({}), small({}))


@pytest.mark.parametrize("norm", list(NORMS)[::4])
def test_comparisons_fit_80_columns(norm, small):
    compared(
        small({"depth": 6}, placement="prores"), small({}, placement="ngpt", norm=norm, activation="swiglu")
    )


def test_the_record_of_two_has_ratios(small):
    this, against = small({"depth": 4}, placement="post"), small({"depth": 2}, placement="pre")
    record = side_by_side.record(side("a", this), side("b", against))
    settings = {pair["name"]: (pair["this"], pair["against"]) for pair in record["differs"]["settings"]}
    assert settings["depth"] == (4, 2) and settings["placement"] == ("post", "pre")
    numbers = {pair["name"]: pair for pair in record["differs"]["numbers"]}
    assert numbers["parameters, attn.q"]["ratio"] == 2
    assert numbers["parameters, final norm"] == {
        "name": "parameters, final norm",
        "this": None,
        "against": 32,
        "ratio": None,
    }
    assert record["this"]["knobs"]["depth"] == 4 and record["against"]["knobs"]["depth"] == 2


def test_a_tracker_is_no_difference(small):
    config = small({})
    other = dataclasses.replace(config, tracker=dataclasses.replace(config.tracker, project="else"))
    assert side_by_side.settings(config, other) == []
