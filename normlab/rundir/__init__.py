"""The run directory as a format: what is in it, how it is written, read and gone on with."""
