"""Import matplotlib, whatever backend the environment names.

Jupyter and Colab name one of their own in MPLBACKEND, and matplotlib refuses to be imported where the package
that has it is not installed. No backend is needed: figures are drawn by `FigureCanvasAgg`.
"""

import os

__all__ = ["style"]

_given = os.environ.pop("MPLBACKEND", None)
try:
    from matplotlib import style
finally:
    if _given is not None:
        os.environ["MPLBACKEND"] = _given
