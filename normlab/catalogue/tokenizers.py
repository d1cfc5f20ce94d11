"""How text becomes tokens: one row a tokenizer. `data.tokenizer` takes its name, or the path of a file."""

from dataclasses import dataclass

from normlab.config.row import Row, table

#: The row that stands for every path.
FILE = "*.json"


@dataclass(frozen=True, kw_only=True)
class TokenizerRow(Row[None]):
    """A tokenizer."""

    config: None = None
    #: Class in `normlab.data.tokens`.
    module: str


TOKENIZERS: dict[str, TokenizerRow] = table(
    TokenizerRow(
        option="byte",
        meaning="one token a byte of UTF-8, vocabulary 256; byte 0 ends a document",
        source="Xue et al. 2021 (ByT5), arXiv 2105.13626",
        module="ByteTokenizer",
    ),
    TokenizerRow(
        option="char",
        meaning="one token a character of the text; with several documents, one more that ends them",
        source="Karpathy 2015 (char-rnn)",
        module="CharTokenizer",
    ),
    TokenizerRow(
        option="bpe",
        meaning="byte-level pairs merged by frequency in the training split, up to data.vocab_size",
        source="Sennrich et al. 2015, arXiv 1508.07909; byte-level in Radford et al. 2019 (GPT-2)",
        module="BPETokenizer",
    ),
    TokenizerRow(
        option=FILE,
        meaning="data.tokenizer=PATH, a tokenizer.json as HuggingFace's tokenizers library writes it",
        module="FileTokenizer",
    ),
)
