"""Run directories -> figures (and, later, tables and statistics). Reads only what the sinks wrote."""
