"""Critical sharpness: how long a step may be before it raises the loss (Kalra et al. 2026, 2601.16979)."""

import math
from collections.abc import Callable

#: The shortest and the longest step that is tried, in steps as they were taken.
LEAST, MOST = 2.0**-10, 2.0**16
#: Bisections between a step that raises the loss and one half as long that does not: to within 2.2 %.
BISECTIONS = 5


def critical_multiple(loss: Callable[[float], float]) -> tuple[float, bool]:
    """The shortest step that raises the loss, and whether there is one within reach.

    `loss(s)` is the loss after s times the step, `loss(0)` that before it. From s = 1 the step is doubled
    until it raises the loss, or halved until it does not, and then bisected; so of a loss that falls and
    rises more than once it is a place where it begins to be above its start, not surely the first. A loss
    that is not finite is one that rose. Without one within reach: `MOST` where no step raises the loss,
    `LEAST` where every one does. NaN where the loss before the step is not finite.
    """
    start = loss(0.0)
    if not math.isfinite(start):
        return math.nan, False

    def raises(multiple: float) -> bool:
        return not loss(multiple) <= start

    above = 1.0
    if raises(above):
        while raises(above / 2):
            above /= 2
            if above <= LEAST:
                return LEAST, False
    else:
        above = 2.0
        while not raises(above):
            above *= 2
            if above > MOST:
                return MOST, False
    below = above / 2
    for _ in range(BISECTIONS):
        middle = math.sqrt(below * above)
        below, above = (below, middle) if raises(middle) else (middle, above)
    return above, True


def figures(multiple: float, found: bool, rate: float) -> dict[str, float]:
    """`sharpness/multiple`, how many times the step taken at learning rate `rate` the critical one is;
    `sharpness/critical` = 2 / (multiple * rate), to be held against 2 / rate; `sharpness/found`, 1, or 0
    where the search came to the end of its reach and the others are only bounds, or NaN.
    """
    critical = 2 / (multiple * rate) if rate else math.nan
    return {"sharpness/critical": critical, "sharpness/multiple": multiple, "sharpness/found": float(found)}
