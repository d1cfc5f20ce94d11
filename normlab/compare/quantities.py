"""What is compared: the figures of one finished run, each with its unit and definition."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from normlab.catalogue import naming
from normlab.divergence.outcome import DIVERGED, TOLERANCE, UNTRAINED, recorded_outcome, trained
from normlab.errors import UserError, nearest
from normlab.rundir.summary import SPAN
from normlab.runs.reader import Run

CAP = (
    "a loss counts as at most ln V, that of a uniform guess at the text's tokens, and as just that where it "
    "is not finite or the run stopped before its last step (as in Wortsman 2309.14322, but one cap for all: "
    "a run's own loss at initialization differs by placement): such runs are marked *, none is dropped"
)


class FigureSource:
    """What a run's figures are made of."""

    def __init__(self, run: Run, target: float | None = None) -> None:
        self.run, self.target = run, target
        # All of them take long to parse, and only the way to a target needs them.
        self.rows = run.read_ends(SPAN) if target is None else run.read_rows()

    @property
    def cap(self) -> float | None:
        """What a loss counts as at most: ln V, a uniform guess; None where the floors are not on record.

        Not the run's own loss at initialization: that is 5.5 without a norm before the head and 6.0 with one,
        so that of two variants that both diverge one would be the better.
        """
        return self.floor("uniform")

    @property
    def stopped(self) -> bool:
        """Whether it ended before its last step."""
        steps, planned = self.run.summary.get("steps"), self.run.steps
        return isinstance(steps, int) and isinstance(planned, int) and steps < planned

    @property
    def capped(self) -> bool:
        """Whether the loss at the end is not one that was measured, by the rule `CAP`."""
        final = self.figure("val/final")
        return self.stopped or (final is not None and not (final <= (self.cap or math.inf)))

    def figure(self, key: str) -> float | None:
        """A number of the summary, which may be NaN; None where it has none."""
        return _number(self.run.summary.get(key))

    def floor(self, name: str) -> float | None:
        """An entropy of the text, in nats a token."""
        return self.run.floors.get(name)

    def at_end(self, key: str) -> float | None:
        """A loss at the end, by the rule `CAP`."""
        return self.cap if self.stopped else self.at_best(key)

    def at_best(self, key: str) -> float | None:
        """A loss, by the rule `CAP` but for runs that stopped: what was reached was reached."""
        loss = self.figure(key)
        if loss is None or self.cap is None:
            return loss if loss is not None and math.isfinite(loss) else None
        return min(loss, self.cap) if math.isfinite(loss) else self.cap

    def excess(self, floor: str) -> float | None:
        """Final validation loss less an entropy of the text."""
        loss, entropy = self.at_end("val/final"), self.floor(floor)
        return None if loss is None or entropy is None else loss - entropy

    def first_to_last(self, rows: Sequence[dict[str, Any]]) -> float | None:
        """Median over `rows` of the first block's gradient norm over the last one's."""
        values = [row.get("grad_norm/first_to_last", math.nan) for row in rows]
        finite = [value for value in values if math.isfinite(value)]
        return median(finite) if finite else None

    def tokens_to_target(self) -> float | None:
        """Tokens seen when the mean of the last `SPAN` logged losses first is at or below the target."""
        if self.target is None or len(self.rows) < SPAN:
            return None
        recent: deque[float] = deque(maxlen=SPAN)
        for row in self.rows:
            recent.append(row.get("loss", math.nan))
            if len(recent) == SPAN and sum(recent) / SPAN <= self.target:
                return _number(row.get("tokens"))
        return math.inf

    @property
    def tokens(self) -> float | None:
        """Tokens that it was to see by its last step: a run that stopped will not reach a target later."""
        last = self.rows[-1] if self.rows else {}
        seen, step = _number(last.get("tokens")), _number(last.get("step"))
        planned = _number(self.run.steps)
        if seen is None or step is None or planned is None:
            return seen
        return seen * max(planned / (step + 1), 1.0)


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A figure of a run."""

    name: str
    #: The column's heading.
    title: str
    unit: str
    meaning: str
    of: Callable[[FigureSource], float | None]
    #: How it is written.
    form: str = ".3f"
    #: Whether it is of the end, where the rule `CAP` may have put another loss.
    of_end: bool = False
    #: Whether it is compared among runs that trained only: see `verdict`.
    of_trained: bool = False
    #: Whether it is a time, infinite where it did not come.
    time: bool = False


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity(
            name="val/final",
            title="final val",
            unit="nats a token",
            meaning="validation loss after the last step",
            of=lambda facts: facts.at_end("val/final"),
            of_end=True,
            of_trained=True,
        ),
        Quantity(
            name="val/best",
            title="best val",
            unit="nats a token",
            meaning="lowest validation loss",
            of=lambda facts: facts.at_best("val/best"),
            of_trained=True,
        ),
        Quantity(
            name="loss/final",
            title="final train",
            unit="nats a token",
            meaning=f"mean training loss of the last {SPAN} logged steps",
            of=lambda facts: facts.at_end("loss/final"),
            of_end=True,
            of_trained=True,
        ),
        Quantity(
            name="loss/best",
            title="best train",
            unit="nats a token",
            meaning=f"lowest mean training loss of {SPAN} logged steps",
            of=lambda facts: facts.at_best("loss/best"),
            of_trained=True,
        ),
        *(
            Quantity(
                name=f"excess/{floor}",
                title=f"over {floor.removesuffix('_rate')}",
                unit="nats a token",
                meaning=f"final validation loss less the {floor.replace('_', ' ')} of the text",
                of=lambda facts, floor=floor: facts.excess(floor),  # type: ignore[misc]
                form="+.3f",
                of_end=True,
                of_trained=True,
            )
            for floor in ("unigram", "bigram", "entropy_rate")
        ),
        *(
            Quantity(
                name=f"spike_score/{name}",
                title=title,
                unit="% of logged steps",
                meaning=f"spike score {name} of loss and gradient norm",
                of=lambda facts, name=name: facts.figure(f"spike_score/{name}"),  # type: ignore[misc]
                form=".2f",
            )
            for name, title in (("olmo2_7sigma_1000", "spikes 7sd"), ("6sigma_128", "spikes 6sd"))
        ),
        Quantity(
            name="first_to_last/start",
            title="g1/gL start",
            unit="ratio",
            meaning="gradient norm of the first block over the last one's, in the first step",
            of=lambda facts: facts.first_to_last(facts.rows[:1]),
            form=".3g",
        ),
        Quantity(
            name="first_to_last/end",
            title="g1/gL end",
            unit="ratio",
            meaning=f"the same, median over the last {SPAN} logged steps",
            of=lambda facts: facts.first_to_last(facts.rows[-SPAN:]),
            form=".3g",
        ),
        Quantity(
            name="tokens_to_target",
            title="to target",
            unit="tokens",
            meaning=f"tokens seen when the mean of {SPAN} logged training losses first is at most the target",
            of=FigureSource.tokens_to_target,
            form=",.0f",
            time=True,
        ),
        Quantity(
            name="tokens_per_second",
            title="tokens/s",
            unit="tokens a second",
            meaning="of training, without evaluation; machines and their load differ",
            of=lambda facts: facts.figure("tokens_per_second"),
            form=",.0f",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A run's figures by quantity, None where it has none."""

    values: dict[str, float | None]
    #: Whether its final loss is the cap: see `CAP`.
    capped: bool
    outcome: str
    #: Tokens that it was to see.
    tokens: float | None = None

    @property
    def diverged(self) -> bool:
        return self.outcome in DIVERGED

    @property
    def word(self) -> str:
        """The outcome; `untrained` too where that is no divergence and there is no loss at the end."""
        return UNTRAINED if self.capped and not self.diverged else self.outcome

    @property
    def trained(self) -> bool:
        return trained(self.word)


def measure(run: Run, target: float | None = None) -> Figures:
    """The figures of a run; the rows that they take are read, and let go."""
    facts = FigureSource(run, target)
    values = {name: quantity.of(facts) for name, quantity in QUANTITIES.items()}
    return Figures(
        values=values,
        capped=facts.capped,
        outcome=recorded_outcome(run.summary, naming.knob(run.config, TOLERANCE)),
        tokens=facts.tokens,
    )


def check_metric(name: str) -> None:
    """Raise a UserError that suggests the nearest unless `name` is a quantity."""
    if name not in QUANTITIES:
        raise UserError(f"--metric {name}: is not one of {', '.join(QUANTITIES)}.{nearest(name, QUANTITIES)}")
