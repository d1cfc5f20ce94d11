"""HuggingFace `datasets`, quiet and told where to write."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def library(*, local: bool) -> Iterator[Any]:
    """The `datasets` module without progress bars and log lines; `local`: also without a request to the hub.

    It is imported here, not at the top: that takes half a second, which a run whose tokens are cached saves.
    """
    import datasets  # type: ignore[import-untyped]
    from datasets.utils import logging as datasets_logging  # type: ignore[import-untyped]
    from huggingface_hub.utils import logging as hub_logging

    bars, counts = not datasets.are_progress_bars_disabled(), datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    levels = [(log, log.get_verbosity()) for log in (datasets_logging, hub_logging)]
    datasets.disable_progress_bars()
    for log, _ in levels:
        log.set_verbosity(log.CRITICAL)
    # For a local file `datasets` would tell the hub which of its readers is used, and wait for an answer.
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts and not local
    try:
        yield datasets
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        for log, level in levels:
            log.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def causes(error: BaseException) -> list[BaseException]:
    """`error` and what led to it, the first cause last: `datasets` wraps errors in errors."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain


def reason(error: BaseException) -> str:
    """The first cause of `error` in one line, with what `datasets` says in lines of its own."""
    cause = causes(error)[-1]
    said = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {said[:300]}" if said else type(cause).__name__
