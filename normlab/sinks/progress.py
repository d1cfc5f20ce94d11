"""How far a run has come, for the console."""

import math
import re
from collections.abc import Callable

from normlab.sinks.base import Opening, Row, event_key
from normlab.sinks.run_directory import read_rows
from normlab.sinks.sketch import Trace

_SITE = re.compile(r"grad_norm/(embedding|layer_\d+|final_norm|head)")
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
        step, loss = row["step"], row["loss"]
        assert isinstance(step, int) and not isinstance(loss, str)
        if not self.row:
            self.first_loss = loss
        self.trace.add(step, loss)
        self.done = step + 1
        self.row = row
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

    def gradients(self) -> list[tuple[str, float]]:
        """(site, norm) from the input to the output, as the rows have them."""
        found = ((_SITE.fullmatch(key), value) for key, value in self.row.items())
        return [(match[1], value) for match, value in found if match and not isinstance(value, str)]
