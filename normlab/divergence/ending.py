"""What the losses of a run come to, as far as its outcome asks."""

from dataclasses import dataclass, field
from statistics import fmean, median

from normlab.divergence.fold_state import Values, number
from normlab.divergence.robust import RECENT, clip

#: Losses that the one at the end is the mean of: single batches are noisy.
SPAN = 20


@dataclass
class Ending:
    """A fold over rows. What is not finite is passed over."""

    #: The first finite loss, and the last ones, the oldest first.
    start: float | None = None
    losses: list[float] = field(default_factory=list)
    #: The latest validation loss.
    validation: float | None = None

    def update(self, row: Values) -> None:
        loss, validation = number(row, "loss"), number(row, "val/loss")
        if loss is not None:
            self.start = loss if self.start is None else self.start
            self.losses.append(clip(loss))
            del self.losses[:-SPAN]
        if validation is not None:
            self.validation = validation

    @property
    def level(self) -> float | None:
        """The median of the last 8 losses: where the loss is now."""
        return median(self.losses[-RECENT:]) if self.losses else None

    @property
    def final(self) -> float | None:
        """The latest validation loss, or the mean of the last 20 losses where there is none."""
        if self.validation is not None or not self.losses:
            return self.validation
        return fmean(self.losses)
