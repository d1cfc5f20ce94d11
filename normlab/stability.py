"""When a run has trained."""

STUCK = "stuck"
#: Outcomes of runs that did not train. One whose loss spiked did, if it came back: a rate is judged by the
#: loss at the end (Wortsman et al. 2023, arXiv 2309.14322), and a rise that stays is an explosion.
DIVERGED = ("nonfinite", "exploded", STUCK)
#: Nor did a run that ends at the unigram entropy of its text or above, or no lower than it began: what it has
#: learnt, if anything, is how frequent each token is. Short runs end so before a detector can be sure.
UNTRAINED = "untrained"


def trained(outcome: str) -> bool:
    """Whether a run with this outcome trained."""
    return outcome not in (*DIVERGED, UNTRAINED)
