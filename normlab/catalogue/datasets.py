"""Texts to train on: one row a source. Ready-made hub datasets are files in `conf/data/`."""

from dataclasses import dataclass

from normlab.config import DataConfig
from normlab.config.row import Row, table
from normlab.errors import at_least, require, require_one_of


@dataclass(frozen=True, kw_only=True)
class TextData(DataConfig):
    """Local files."""

    #: A file, a folder or a glob of .txt, .jsonl, .parquet or .csv, optionally gzipped.
    path: str | None = None
    #: The column that holds the text, where the files have columns.
    text_column: str = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.text_column), "data.text_column", "is empty; give the name of a column")


@dataclass(frozen=True, kw_only=True)
class HubData(DataConfig):
    """A dataset on the HuggingFace hub; `name` is its repository."""

    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    text_column: str = "text"
    #: What a row is: one of the `documents`, or one of the `lines` of a running text.
    rows: str = "documents"
    #: Read it as a stream, up to max_tokens, instead of downloading all of it.
    streaming: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.text_column), "data.text_column", "is empty; give the name of a column")
        require_one_of(self.rows, ("documents", "lines"), "data.rows")
        bounded = not self.streaming or self.max_tokens is not None
        require(bounded, "data.streaming", "needs data.max_tokens, which says where the stream is left")


@dataclass(frozen=True, kw_only=True)
class MarkovData(DataConfig):
    """A Markov chain over letters, whose entropy rate is known exactly."""

    tokenizer: str = "char"
    #: Letters in the alphabet.
    symbols: int = 16
    #: Dirichlet concentration of each row of the transition matrix: small is predictable.
    concentration: float = 0.3
    #: Letters of text.
    length: int = 1048576
    #: Seed of the chain and its text; not the run's seed.
    chain_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(2 <= self.symbols <= 64, "data.symbols", f"must be 2 to 64, got {self.symbols}")
        ok = 0 < self.concentration < float("inf")
        require(ok, "data.concentration", f"must be finite and above 0, got {self.concentration}")
        at_least(self.length, 2, "data.length", most=10**8)
        at_least(self.chain_seed, 0, "data.chain_seed")


DATASETS: dict[str, Row[DataConfig]] = table(
    Row(
        config=DataConfig(name="stdlib", source="stdlib"),
        meaning="the running Python's own standard library, top-level *.py: real text, always there, offline",
    ),
    Row(
        config=TextData(name="text", source="text"),
        meaning="your files: data.path=FILE, FOLDER or GLOB of .txt, .jsonl, .parquet or .csv",
    ),
    Row(
        config=HubData(name="???", source="hub"),
        option="hub",
        meaning="a HuggingFace dataset: data.name=OWNER/NAME, data.subset=..., data.text_column=...",
    ),
    Row(
        config=MarkovData(name="markov", source="markov"),
        meaning="letters from a Markov chain whose entropy rate is known exactly",
        equation="H = -sum_i pi_i sum_j P_ij ln P_ij",
        source="Shannon 1948",
    ),
)
