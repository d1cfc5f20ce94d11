"""Finished runs: read them, list, show and replay them, send them to wandb."""
