"""The wandb sink: a mirror of the run directory."""
