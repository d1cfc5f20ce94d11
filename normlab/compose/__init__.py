"""Compose words and YAML into one checked, frozen RunConfig, by Hydra."""

from normlab.compose import resolvers, schema

schema.register()
resolvers.register()
