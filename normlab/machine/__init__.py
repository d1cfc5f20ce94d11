"""The machine that normlab runs on: ranks, processes, threads."""
