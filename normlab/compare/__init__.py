"""`normlab compare`: finished runs in groups: losses, outcomes, and what of it is more than chance."""
