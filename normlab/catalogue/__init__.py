"""What can be chosen: one module an axis of variation, one row a variant. Nothing here imports torch."""
