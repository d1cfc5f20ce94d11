"""The machine that normlab runs on: processes, threads, deadlines."""
