"""The Transformer's options. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aigc_cli.backends.base import Backend, EvalOptions, SampleOptions
from aigc_cli.engine.settings import CommandOptions, TrainOptions
from aigc_cli.options import EXPERT, MORE, option

MODEL = "Model"
TEXT = "Reading the data"
Format = Literal["txt", "tsv", "csv", "json", "jsonl", "parquet", "arrow"]
Size = Literal["nano", "micro", "tiny", "mini", "small", "medium", "base"]


@dataclass(frozen=True)
class TextOptions(CommandOptions):
    """How a source is read as documents."""

    column: str | None = option(None, metavar="NAME", panel=TEXT, auto="'text', or the only one that holds text")
    """The column of a table that holds the documents."""
    lines: bool = option(False, panel=TEXT)
    """Each line of a text file is a document."""
    paragraphs: bool = option(False, panel=TEXT)
    """Each paragraph of a text file is a document."""
    input_format: Format | None = option(None, panel=TEXT, auto="told from its first bytes")
    """The format of standard input."""


@dataclass(frozen=True)
class Train(TextOptions, TrainOptions):
    fields: str | None = option(None, metavar="NAME,NAME,…", panel=TEXT, auto="one, of --column")
    """The columns of a table that make a document, in this order: each is written given those before it."""
    tokenizer: str = option("auto", metavar="auto|char|bpe|byte|word|spacy:PIPELINE", panel=TEXT)
    """How text becomes tokens. auto decides by script and size, and says why; word takes Unicode's words, spacy:PIPELINE those
    of an installed pipeline, spacy:blank:LANG those of a language."""
    vocab_size: int | None = option(None, min=5, panel=TEXT, unit="tokens", auto="from the data")
    """The size of a vocabulary of BPE or of words, at most."""
    lower: bool = option(False, panel=TEXT)
    """Read all text in lower case, here and ever after."""
    min_freq: int | None = option(None, min=1, panel=TEXT, auto="5")
    """How often the training text must have a word for it to be a token; a rarer one is spelled by characters."""
    unk: bool = option(False, panel=TEXT)
    """A rarer word is <unk> instead, which pays for its spelling in evaluation and is never written."""
    tokenizer_budget: float | None = option(
        None, above=0, panel=EXPERT, unit="floating-point operations", auto="from the minutes"
    )
    """The training that --tokenizer auto chooses for: more of it affords a larger vocabulary, or finer tokens."""
    preset: Size | None = option(None, panel=MODEL, auto="from the budget")
    """A size of model; the options below override parts of it."""
    context: int | None = option(None, min=8, panel=MODEL, unit="tokens", auto="from the preset and the documents' lengths")
    """How far back the model can look."""
    n_layers: int | None = option(None, min=1, panel=MODEL, auto="the preset's")
    """Blocks of attention and feed-forward."""
    d_model: int | None = option(None, min=8, panel=MODEL, auto="the preset's")
    """The width of the model."""
    n_heads: int | None = option(None, min=1, panel=MODEL, auto="the width divided by 32 or 64")
    """Attention heads."""
    n_kv_heads: int | None = option(None, min=1, panel=MODEL, auto="as many as heads")
    """Heads of keys and values; fewer share them among queries (grouped-query attention)."""
    d_ff: int | None = option(None, min=8, panel=MODEL, auto="about 8/3 of the width")
    """The width of the feed-forward layer."""
    tied: bool | None = option(None, panel=MODEL, auto="tied")
    """Use the embedding matrix as the output layer too."""
    dropout: float | None = option(None, min=0, max=0.9, panel=EXPERT, auto="from the number of epochs")
    """The share of activations dropped in training."""
    weight_decay: float = option(0.1, min=0, panel=EXPERT)
    """Decoupled weight decay of the matrices."""


@dataclass(frozen=True)
class Sample(SampleOptions):
    prompt: str | None = option(None, metavar="TEXT|-|@FILE")
    """What the text begins with; '-' reads a prompt a line, @FILE takes a file's whole text."""
    given: tuple[str, ...] = option((), metavar="FIELD=TEXT|-")
    """A leading field of what --fields named, to be taken as it is; may be repeated. '-' reads a JSON object of them a line."""
    max_tokens: int | None = option(None, min=1, unit="tokens", auto="to the end of the document")
    """The longest a sample may be, all its fields together."""
    temperature: float = option(1.0, min=0)
    """Below 1 the samples are safer, above 1 more surprising; 0 always takes the likeliest token."""
    top_k: int | None = option(None, min=1, panel=MORE, auto="off")
    """Draw from the K likeliest tokens only."""
    top_p: float | None = option(None, above=0, max=1, panel=MORE, auto="off")
    """Draw from the likeliest tokens that together have probability P (nucleus sampling)."""
    min_p: float | None = option(None, min=0, max=1, panel=MORE, auto="off")
    """Draw from tokens at least P times as likely as the likeliest."""
    repetition_penalty: float = option(1.0, above=0, panel=MORE)
    """Above 1, tokens that have occurred become less likely."""
    stop: tuple[str, ...] = option((), metavar="TEXT", panel=MORE)
    """End a sample before this text; may be repeated."""
    match: str | None = option(None, metavar="REGEX", panel=MORE, auto="off")
    """Every sample, or its last field, matches this regular expression as a whole (Rust's syntax; \\d is 0 to 9), unless
    --max-tokens cuts it."""
    echo: bool = option(False)
    """Print the prompt before each sample."""
    stream: bool = option(False)
    """Print characters as they come."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Samples computed at once."""


@dataclass(frozen=True)
class Eval(TextOptions, EvalOptions):
    n: int = option(100, min=0, short="-n")
    """Samples to compare with human text; 0 for none."""
    split: Literal["train", "val", "test"] | None = option(None, panel=TEXT, auto="test, else val, else all")
    """Which part of a data set that comes in splits."""
    batch_size: int = option(32, min=1, panel=EXPERT)
    """Rows of one context computed at once."""


BACKEND = Backend(
    name="transformer",
    summary="A Transformer language model for texts of any kind.",
    demo="demo:verse",
    options={"train": Train, "sample": Sample, "eval": Eval},
    implementation="aigc_cli.backends.transformer.backend:TransformerBackend",
)
