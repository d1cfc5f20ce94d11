"""How far a run has come, for the console."""

import math
import re
from collections.abc import Callable

from normlab.rundir.opening import Opening, Row, event_key
from normlab.rundir.writer import read_rows
from normlab.terminal.sketch import Trace

_PLACE = re.compile(r"embedding|layer_\d+|final_norm|head")
#: What the view shows by layer.
_PROFILES = ("grad_norm", "stream/rms")
_FLOORS = (
    ("ln V", "uniform"),
    ("unigram", "unigram"),
    ("bigram", "bigram"),
    ("entropy rate", "entropy_rate"),
)


class Progress:
    """What is known of a run so far; written by the console sink, read by its view from another thread."""

    def __init__(self, opening: Opening, clock: Callable[[], float]) -> None:
        self.opening = opening
        self.clock = clock
        self.began = clock()
        self.steps = int(opening.config["train"]["steps"])
        self.done = opening.first_step
        self.trace = Trace(self.steps)
        self.row: Row = {}
        #: The latest row with numbers by layer, by family: not every row has them.
        self._by_layer: dict[str, Row] = {}
        self.val = math.nan
        self.first_loss = math.nan
        self.events = {event_key(event): event for event in opening.events}
        #: When the first row of this attempt came, and how many steps were done then.
        self._paced: tuple[float, int] | None = None
        if opening.resumed:
            for row in read_rows(opening.directory):
                self.take(row)
            self.done, self._paced = opening.first_step, None

    def take(self, row: Row) -> None:
        step, loss = row["step"], row.get("loss", math.nan)
        assert isinstance(step, int) and not isinstance(loss, str)
        if not self.row:
            self.first_loss = loss
        self.trace.add(step, loss)
        self.done = step + 1
        self.row = row
        for family in _PROFILES:
            if f"{family}/layer_00" in row:
                self._by_layer[family] = row
        self._paced = self._paced or (self.clock(), self.done)
        val = row.get("val/loss")
        if isinstance(val, float):
            self.val = val

    def number(self, key: str) -> float:
        value = self.row.get(key, math.nan)
        return math.nan if isinstance(value, str) else value

    def eta(self) -> float:
        """Seconds to the end, at the pace since the first step (which is slower than the others)."""
        if self._paced is None:
            return math.inf
        then, done = self._paced
        took = self.done - done
        return (self.clock() - then) * (self.steps - self.done) / took if took else math.inf

    def floors(self) -> list[tuple[str, float]]:
        known = self.opening.floors
        return [(name, known[key]) for name, key in _FLOORS if key in known]

    def profile(self, family: str) -> dict[str, float]:
        """The latest numbers of `grad_norm` or `stream/rms` by place, from the input to the output."""
        row, prefix = self._by_layer.get(family, {}), f"{family}/"
        found = ((key.removeprefix(prefix), value) for key, value in row.items() if key.startswith(prefix))
        return {name: value for name, value in found if _PLACE.fullmatch(name) and not isinstance(value, str)}
