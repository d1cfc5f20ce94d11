"""`normlab explain`: what became of a run and why, read from its directory.

`case` holds the facts of a run. Each file of diagnoses (`gradients`, `attention`, `stream`, `rate`, `output`,
`normalization`, `nonfinite`, `accidents`) has pure functions from a case to a `Finding` or None; `table` has
them, one row each. `cures` are what the literature offers, `story` tells what happened, `numbers` what moved
before it, `gaps` what cannot be known, `explanation` puts them together and `page` prints it.
"""
