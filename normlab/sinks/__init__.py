"""Where a run's rows and events go: the run directory, wandb, the console. Sinks never compute."""
