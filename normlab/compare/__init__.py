"""Run directories -> tables, statistics and figures. Reads only what the sinks wrote."""
