"""What of the runs' numbers goes into a page: all, or what matters most, as far as a page should grow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from normlab.measure.families import place
from normlab.report import metrics
from normlab.report.cards import Card, PackedCurve, PackedMap
from normlab.report.pack import Pack

#: Characters of packed numbers; a page of this size opens in about a second.
LIMIT = 7_000_000
#: In every page, however long the runs.
_ALWAYS = 3
#: Families that come as heat maps before anything else.
_MAPS_FIRST = 4


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The packed numbers, and where each run's are among them."""

    pack: Pack
    curves: Sequence[str]
    maps: Sequence[str]
    #: What there was no room for, as text.
    lacks: str

    def of(self, card: Card) -> dict[str, Any]:
        """The numbers of a run's blobs, by metric and family."""
        add = self.pack.add
        maps = {name: card.maps[name] for name in self.maps if name in card.maps}
        return {
            "curves": {
                name: [add(card.curves[name].steps), add(card.curves[name].values)]
                for name in self.curves
                if name in card.curves
            },
            "maps": {
                name: {
                    "edges": add(each.edges),
                    "values": add(each.values),
                    "places": each.places,
                    "each": each.each,
                }
                for name, each in maps.items()
            },
        }


def choose(cards: Sequence[Card], limit: int = LIMIT) -> Contents:
    """Take what matters most while it fits: each metric in full and of every run, or not at all."""
    pack, size = Pack(), 0
    taken: dict[str, list[str]] = {"curves": [], "maps": []}
    left: dict[str, list[str]] = {"curves": [], "maps": []}
    for number, (kind, name) in enumerate(_by_weight(cards)):
        texts = _texts(cards, kind, name)
        more = sum(len(text) for text in texts if text not in pack)
        if number >= _ALWAYS and size + more > limit:
            left[kind].append(name)
            continue
        size += more
        taken[kind].append(name)
        for text in texts:
            pack.add(text)
    return Contents(
        pack=pack, curves=metrics.ordered(taken["curves"]), maps=taken["maps"], lacks=_lacks(**left)
    )


def _by_weight(cards: Sequence[Card]) -> Iterator[tuple[str, str]]:
    """Losses and gradient, the first heat maps, other curves of the model, heat maps, curves of places."""
    curves = metrics.ordered(name for card in cards for name in card.curves)
    maps = metrics.families(f"{name}/head" for card in cards for name in card.maps)
    whole = [name for name in curves if place(name) is None]
    yield from (("curves", name) for name in whole[:_ALWAYS])
    yield from (("maps", name) for name in maps[:_MAPS_FIRST])
    yield from (("curves", name) for name in whole[_ALWAYS:])
    yield from (("maps", name) for name in maps[_MAPS_FIRST:])
    yield from (("curves", name) for name in curves if place(name) is not None)


def _texts(cards: Sequence[Card], kind: str, name: str) -> set[str]:
    found: list[PackedCurve | PackedMap | None] = [
        card.curves.get(name) if kind == "curves" else card.maps.get(name) for card in cards
    ]
    return {text for each in found if each for text in each[:2]}


def _lacks(curves: Sequence[str], maps: Sequence[str]) -> str:
    """`curves of lr; curves of single layers of grad_norm, stream/rms; heat maps of stream/max`."""
    whole, layered = [name for name in curves if place(name) is None], metrics.families(curves)
    parts = {"curves of": whole, "curves of single layers of": layered, "heat maps of": maps}
    return "; ".join(f"{words} {', '.join(names)}" for words, names in parts.items() if names)
