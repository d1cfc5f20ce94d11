"""Which places left their own past first: a robust band for every series that rows have per place."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from normlab.divergence.event import Event
from normlab.divergence.fold_state import Values, number, pack, unpack
from normlab.divergence.robust import RECENT, SIGMA
from normlab.terminal.wording import counted

#: What is watched of a place, as text; sizes, for which trouble is to be large.
GRADIENT = "grad_norm"
RISING = {
    GRADIENT: "gradient",
    "grad_stream": "gradient of the stream",
    "stream/rms": "stream",
    "stream/max": "largest of the stream",
    "update/ratio": "update",
    "attention/max_logit": "attention logits",
}
#: And that for which trouble is to be small.
FALLING = {"attention/entropy": "attention entropy"}
FAMILIES = RISING | FALLING
#: Readings that a band is made of, the fewest that make one, and those after which it is computed anew.
WINDOW, MINIMUM, RENEW = 32, 8, 4
#: Outside is what is this many robust standard deviations away.
OUTSIDE = 6.0
#: The least that such a deviation may be, of logarithms: of gradients, and of what is read now and then. In
#: healthy runs attention logits grow threefold within some readings while the model learns to attend.
FLOOR, SELDOM = 0.05, 0.2
#: Steps for which an excursion that is over is remembered.
MEMORY = 512
#: Places named at most.
NAMED = 3


@dataclass
class Band:
    """One series, in logarithms and with the bad end up. `readings`: of the baseline; `outside`: those on
    end that are not; `read`: the step of the latest. `level`: the median of the baseline, `recent` that of
    its last 8. `left`: the excursion that lasts, as in `order`.
    """

    readings: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)
    level: float = 0.0
    recent: float = 0.0
    scale: float = 0.0
    age: int = 0
    read: int | None = None
    floor: float = FLOOR
    left: dict[str, Any] | None = None

    def renew(self) -> None:
        del self.readings[:-WINDOW]
        self.level, self.recent, self.age = median(self.readings), median(self.readings[-RECENT:]), 0
        self.scale = max(self.floor, SIGMA * median([abs(x - self.level) for x in self.readings]))

    def accept(self, x: float) -> None:
        self.readings.append(x)
        self.outside.clear()
        self.age += 1
        if len(self.readings) <= MINIMUM or self.age >= RENEW:
            self.renew()


class Bands:
    """The bands of all places, as a fold over rows.

    A band is the median of the last 32 accepted logarithms and 1.4826 times their median absolute deviation,
    0.05 at least (0.2 but for gradients). A reading is outside when it is 6 of those above the median (below,
    for what is bad when it is small). A steady trend widens its own band and so stays inside. Readings
    outside stay out of the baseline, until 32 consecutive ones become it.
    """

    def __init__(self, places: Iterable[str]) -> None:
        self.watched = {
            f"{family}/{place}": (place, 1 if family in RISING else -1)
            for family in FAMILIES
            for place in places
        }
        self.bands: dict[str, Band] = {}
        #: Excursions that are over, with the step at which they were under `over`.
        self.past: list[dict[str, Any]] = []
        #: By place: the logarithm of its gradient in the latest row, over the median of the 8 before.
        self.rises: dict[str, float] = {}

    def update(self, row: Values) -> None:
        self.rises = {}
        while self.past and row["step"] - self.past[0]["over"] > MEMORY:
            del self.past[0]
        for key, (place, sign) in self.watched.items():
            value = number(row, key)
            if value is not None and value > 0:
                self._read(row["step"], key, place, sign * math.log(value))

    def _read(self, step: int, key: str, place: str, x: float) -> None:
        band = self.bands.get(key)
        if band is None:
            band = self.bands[key] = Band(floor=FLOOR if key.startswith(GRADIENT) else SELDOM)
        if len(band.readings) < MINIMUM:
            band.accept(x)
        else:
            rise = x - band.level
            if key.startswith(GRADIENT):
                self.rises[place] = x - band.recent
            if rise > OUTSIDE * band.scale:
                self._out(step, key, band, x)
            else:
                if band.left is not None:
                    self._over(step, band)
                band.accept(x)
        band.read = step

    def _out(self, step: int, key: str, band: Band, x: float) -> None:
        if band.left is None:
            place, sign = self.watched[key]
            rise = x - band.level
            band.left = {
                "place": place,
                "metric": key,
                "step": step,
                "after": band.read,
                "ratio": math.exp(max(min(sign * rise, 700.0), -700.0)),
                "z": rise / band.scale,
            }
        band.outside.append(x)
        if len(band.outside) == WINDOW:
            band.readings, band.outside = band.outside, []
            band.renew()
            self._over(step, band)

    def _over(self, step: int, band: Band) -> None:
        assert band.left is not None
        self.past.append(band.left | {"over": step})
        band.left = None

    def order(self, step: int) -> tuple[dict[str, Any], ...]:
        """The places that were outside at `step`, by when they left their bands, those at one step by z.

        Of each: `place`, the `metric` that left first, the `step` of its first reading outside and of the
        one `after` which that was, the `ratio` to the band's middle there and how far, `z`, in units of the
        band.
        """
        lasting = [band.left for band in self.bands.values() if band.left is not None]
        there = [each for each in (*self.past, *lasting) if each["step"] <= step < each.get("over", math.inf)]
        first: dict[str, dict[str, Any]] = {}
        for each in sorted(there, key=lambda each: (each["step"], -each["z"])):
            known = {name: value for name, value in each.items() if name != "over"}
            first.setdefault(each["place"], known)
        return tuple(first.values())

    def ranked(self, event: Event, began: int) -> Event:
        """`event`, which began at step `began`, with who had left by then; its layers are those, if any."""
        order = self.order(began)
        if not order:
            return event
        layers = event.layers or tuple(each["place"] for each in order)
        return replace(
            event, order=order, layers=layers, message=f"{event.message}; {in_words(order, began)}"
        )

    def state_dict(self) -> dict[str, Any]:
        """The state as plain containers, which later rows do not change."""
        return {
            "bands": {key: pack(band) for key, band in self.bands.items()},
            "past": list(self.past),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.bands = {key: unpack(Band, band) for key, band in state["bands"].items()}
        self.past = list(state["past"])


def in_words(order: Sequence[Mapping[str, Any]], step: int) -> str:
    """Who left first, for an event that began at `step`."""
    named, more = order[:NAMED], len(order) - NAMED
    rest = f" and {more} more" if more > 0 else ""
    if len(order) == 1:
        return f"{order[0]['place']} alone left its band: {_how(order[0])} {_when(order[0], step)}"
    if len({(each["step"], each["after"]) for each in order}) == 1:
        told = ", ".join(f"{each['place']} ({_how(each)})" for each in named)
        return f"left their bands, all {_when(order[0], step)}, furthest first: {told}{rest}"
    first, *others = named
    told = ", ".join(f"{each['place']} ({_how(each)} {_when(each)})" for each in others)
    return f"{first['place']} left its band first: {_how(first)} {_when(first, step)}; then {told}{rest}"


def _how(each: Mapping[str, Any]) -> str:
    family = each["metric"].removesuffix(f"/{each['place']}")
    return f"{FAMILIES[family]} x{each['ratio']:.3g}"


def _when(each: Mapping[str, Any], step: int | None = None) -> str:
    """A metric that is not in every row says no more than between which two it left."""
    if each["after"] < each["step"] - 1:
        return f"between steps {each['after'] + 1} and {each['step']}"
    before = 0 if step is None else step - each["step"]
    ago = f", {counted(before, 'step')} before" if before else ""
    return f"at step {each['step']}{ago}"
