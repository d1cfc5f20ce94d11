"""The command line: commands and their help."""

from normlab.cli.app import main as main
