"""Datasets on the HuggingFace hub, with a short question first: its own retries can take minutes."""

import dataclasses
import errno
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from normlab.catalogue.datasets import HubData
from normlab.data.documents import ROWS, Documents, Rows, check_column, clean
from normlab.data.hf import causes, library, reason
from normlab.errors import ConfigError, DataError, UserError, require

T = TypeVar("T")

#: Seconds the hub has for one answer; for all of the first question, looking up its name included, and later
#: to break a silence.
ANSWER, PATIENCE = 5.0, 12.0
#: The branch in which the hub keeps a parquet copy of datasets that come with a loading script.
PARQUET = "refs/convert/parquet"
#: What the system says of a folder that takes nothing.
NOT_WRITTEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
LOCAL = "To train on a file of your own: data=text data.path=FILE"


def request(config: HubData) -> dict[str, Any]:
    """What the text depends on; not the newest version on the hub: a text that is cached stays as it was."""
    fields = ("name", "subset", "split", "revision", "text_column", "rows")
    return {"source": "hub"} | {field: getattr(config, field) for field in fields}


def read(config: HubData, folder: Path, limit: int | None) -> Documents:
    """The texts, up to `limit` characters where they are streamed.

    Raises:
        DataError: the hub does not answer, or cannot give what is asked for.
        ConfigError: a name, subset, split or column that is not there.
    """
    # As the hub names them; `..` would lead out of its cache.
    well_named = re.fullmatch(r"(?!\.)[\w.-]+/(?!\.)[\w.-]+", config.name, re.ASCII) is not None
    require(well_named, "data.name", f"'{config.name}' is not OWNER/NAME, as on the hub")
    # `datasets` would prefer a folder of that name to the hub.
    require(not Path(config.name).exists(), "data.name", f"{config.name} is a local path; use data=text")
    with library(local=False) as datasets:
        try:
            # Told to be offline, `datasets` looks into its own cache alone.
            commit = "" if datasets.config.HF_HUB_OFFLINE else _within(PATIENCE, lambda: _ask(config))
            with Silence() as silence:
                texts = _within(PATIENCE, lambda: _texts(datasets, config, folder, limit), silence.seconds)
        except UserError:
            raise
        except Exception as error:  # the libraries below raise a dozen kinds
            raise _explained(config, error) from error
    return Documents(texts, joined=config.rows == "lines", note=commit)


def _texts(datasets: Any, config: HubData, folder: Path, limit: int | None) -> Any:
    settings: dict[str, Any] = {
        "path": config.name,
        "name": config.subset,
        "revision": config.revision,
        "cache_dir": _cache(datasets, folder),
    }
    how: dict[str, Any] = {"split": config.split, "streaming": config.streaming}
    try:
        return _taken(datasets.load_dataset(**settings, **how), config, limit)
    except Exception as error:
        only = _only_the_text(datasets, settings, config) if _of_reading(error) else {}
        if not only:
            raise
    return _taken(datasets.load_dataset(**settings, **how, **only), config, limit)


def _taken(dataset: Any, config: HubData, limit: int | None) -> Any:
    columns = dataset.column_names or list(next(iter(dataset), {}))
    check_column(dataset.features, columns, config.text_column, config.name)
    if config.streaming:
        return list(_until(limit, clean(row[config.text_column] for row in dataset)))
    return Rows(dataset, config.text_column)


def _of_reading(error: BaseException) -> bool:
    """Whether files are there but do not fit together, or into what their reader expects."""
    return any(type(cause).__module__.startswith(("pyarrow", "datasets.table")) for cause in causes(error))


def _only_the_text(datasets: Any, settings: dict[str, Any], config: HubData) -> dict[str, Any]:
    """What has the reader of parquet look at one column alone, and pass over groups without rows.

    Not from the start: what it reads with other settings, `datasets` keeps a second time. Nothing for another
    format, whose reader has no such settings.
    """
    builder = datasets.load_dataset_builder(**settings)
    if not {"columns", "batch_size"} <= {field.name for field in dataclasses.fields(builder.config)}:
        return {}
    column = config.text_column
    features = datasets.Features({column: datasets.Value("large_string")})
    return {"columns": [column], "features": features, "batch_size": ROWS}


class Silence:
    """For how long the hub has left a request of its client, and all that came after it, without an answer.

    While entered; requests that the client repeats on its own do not make it shorter, and a long download or
    work on this machine is none.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def __enter__(self) -> "Silence":
        from huggingface_hub import set_client_factory
        from huggingface_hub.utils import _http  # its own factory has no public name

        def client() -> Any:
            made = _http.default_client_factory()
            made.event_hooks["request"].append(self._asked)
            made.event_hooks["response"].append(self._answered)
            return made

        set_client_factory(client)
        return self

    def __exit__(self, *error: object) -> None:
        from huggingface_hub import set_client_factory
        from huggingface_hub.utils import _http

        set_client_factory(_http.default_client_factory)

    def _asked(self, request: object) -> None:
        self._since = self._since or time.monotonic()

    def _answered(self, response: object) -> None:
        self._since = None

    def seconds(self) -> float:
        return time.monotonic() - self._since if self._since else 0.0


def _until(limit: int | None, texts: Iterable[str]) -> Iterator[str]:
    """`texts` up to the one that reaches `limit` characters."""
    total = 0
    for text in texts:
        yield text
        total += len(text)
        if limit is not None and total >= limit:
            return


def _cache(datasets: Any, folder: Path) -> str | None:
    """Where `datasets` keeps its files: its own cache, or `folder` where that cannot be written."""
    place = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        place.mkdir(parents=True, exist_ok=True)
        return None if os.access(place, os.W_OK) else str(folder / "hf")
    except OSError:
        return str(folder / "hf")


def _ask(config: HubData) -> str:
    """The commit that the hub has for this dataset."""
    from huggingface_hub import HfApi

    return HfApi().dataset_info(config.name, revision=config.revision, timeout=ANSWER).sha or ""


def _within(seconds: float, call: Callable[[], T], passed: Callable[[], float] | None = None) -> T:
    """What `call` returns or raises; a TimeoutError after `seconds`: looking up a name knows no timeout.

    `passed` tells how many have passed; from the start unless it is given.
    """
    began = time.monotonic()
    passed = passed or (lambda: time.monotonic() - began)
    answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((True, call()))
        except BaseException as error:
            answers.put((False, error))

    threading.Thread(target=work, daemon=True).start()
    while (left := seconds - passed()) > 0:
        with suppress(queue.Empty):
            good, value = answers.get(timeout=min(left, 1.0))
            if not good:
                raise value
            return value  # type: ignore[no-any-return]
    raise TimeoutError(f"no answer within {seconds:.0f} s")


def _explained(config: HubData, error: Exception) -> UserError:
    """`error` as the user should read it."""
    from huggingface_hub import errors

    name, text = config.name, " ".join(str(error).partition("Example of usage")[0].split())
    chain = causes(error)
    if any(isinstance(cause, errors.HFValidationError) for cause in chain):
        return ConfigError("data.name", text)
    if any(isinstance(cause, errors.RevisionNotFoundError) for cause in chain):
        return ConfigError("data.revision", f"{name} has no revision '{config.revision}' on the hub")
    if any(isinstance(cause, errors.RepositoryNotFoundError) for cause in chain):
        problem = (
            f"the hub has no dataset {name}, or not for you (a private or gated one needs `hf auth login`)"
        )
        return ConfigError("data.name", problem)
    if "scripts are no longer supported" in text:
        problem = f"{name} comes with a loading script, which is never run; try data.revision={PARQUET}"
        return ConfigError("data.name", problem)
    if "BuilderConfig" in text or "Config name is missing" in text:
        return ConfigError("data.subset", f"{name}: {text}")
    if "Unknown split" in text or "Bad split" in text:
        return ConfigError("data.split", f"{name}: {text}")
    if any(isinstance(cause, OSError) and cause.errno in NOT_WRITTEN for cause in chain):
        problem = f"cannot write the cache of HuggingFace's libraries ({reason(error)})"
        return DataError(f"{name}: {problem}; set HF_HOME to a folder that can be written")
    if any(isinstance(cause, (ConnectionError, TimeoutError)) or _of_network(cause) for cause in chain):
        return DataError(f"the HuggingFace hub cannot be reached for {name} ({reason(error)}). {LOCAL}")
    return DataError(f"cannot read {name} from the HuggingFace hub ({reason(error)}). {LOCAL}")


def _of_network(error: BaseException) -> bool:
    """Errors of the HTTP library under the hub's client, which has changed with its versions."""
    return type(error).__module__.partition(".")[0] in (
        "httpx",
        "httpx2",
        "httpcore",
        "httpcore2",
        "requests",
    )
