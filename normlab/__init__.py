"""normlab: how norm type and placement affect training stability."""

__version__ = "0.1.0"
