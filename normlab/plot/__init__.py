"""`normlab plot`: figures of runs, sweeps and probes as files."""
