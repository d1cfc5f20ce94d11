"""The console sink: a live view on a terminal, plain lines elsewhere."""
