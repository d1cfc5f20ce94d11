import json

import pytest

from normlab.report import contents
from normlab.report.cards import read
from normlab.runs.reader import load


@pytest.fixture
def cards(tmp_path, write, layers):
    for seed in range(3):
        layers(write(tmp_path / f"run-{seed}", 2.5, seed=seed))
    return read(load(tmp_path))


def test_all_of_it_where_there_is_room(cards):
    found = contents.choose(cards)
    assert found.lacks == ""
    assert found.curves[:2] == ["loss", "grad_norm/global"]
    assert "grad_norm/layer_01" in found.curves and "grad_norm/layer_00/attn.qkv" not in found.curves
    assert list(found.maps) == ["grad_norm", "stream/rms"]


def test_losses_are_there_however_little_room_there_is(cards):
    found = contents.choose(cards, limit=0)
    assert list(found.curves) == ["loss", "grad_norm/global", "grad_norm/first_to_last"]
    assert not found.maps
    assert found.lacks == (
        "curves of lr; curves of single layers of grad_norm, stream/rms; heat maps of grad_norm, stream/rms"
    )


def test_a_metric_is_there_in_full_of_every_run_or_not_at_all(cards):
    whole = contents.choose(cards)
    size = sum(map(len, whole.pack.texts))
    for limit in range(0, size, size // 7):
        found = contents.choose(cards, limit)
        for card in cards:
            blobs = found.of(card)
            assert list(blobs["curves"]) == list(found.curves)
            assert list(blobs["maps"]) == list(found.maps)
            for name, numbers in blobs["curves"].items():
                assert [found.pack.texts[number] for number in numbers] == list(card.curves[name])


def test_what_runs_share_is_there_once(cards):
    found = contents.choose(cards)
    steps = {json.dumps(found.of(card)["curves"]["loss"][0]) for card in cards}
    assert len(steps) == 1
    assert len(found.pack.texts) == len(set(found.pack.texts))
