"""Where a run's rows and events go: the console and wandb (files: `rundir/`). Sinks never compute."""
