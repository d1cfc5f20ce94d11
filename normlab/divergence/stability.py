"""When a run has trained."""

from normlab.divergence.outcome import UNTRAINED as UNTRAINED

STUCK = "stuck"
#: Outcomes of runs that did not train. One whose loss spiked did, and is called so only if it came back: a
#: rate is judged by the loss at the end (Wortsman et al. 2023, arXiv 2309.14322), and a rise that stays is an
#: explosion. Nor did one train that is UNTRAINED: it ends at the unigram entropy of its text or above.
DIVERGED = ("nonfinite", "exploded", STUCK)


def trained(outcome: str) -> bool:
    """Whether a run with this outcome trained."""
    return outcome not in (*DIVERGED, UNTRAINED)
