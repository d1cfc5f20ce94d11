"""Exit codes of the command, and of a job's process."""

#: Done (diverged or not), a job failed, not a usable command, and 128 plus the signal.
OK, FAILED, REFUSED, SIGNALLED = 0, 1, 2, 128
