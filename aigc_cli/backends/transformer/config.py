"""The Transformer's options. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aigc_cli.backends.base import Backend, EvalOptions, SampleOptions
from aigc_cli.backends.transformer.meanings import MEANINGS
from aigc_cli.engine.settings import CommandOptions, Plan, TrainOptions
from aigc_cli.errors import RequestError
from aigc_cli.options import EXPERT, MORE, option

MODEL = "Model"
PAIRS = "Answers: --arch encoder-decoder"
TEXT = "Reading the data"
Format = Literal["txt", "tsv", "csv", "json", "jsonl", "parquet", "arrow"]
Size = Literal["nano", "micro", "tiny", "mini", "small", "medium", "base"]


@dataclass(frozen=True)
class TextOptions(CommandOptions):
    """How a source is read as documents."""

    column: str | None = option(
        None, metavar="NAME", names="column", panel=TEXT, auto="'text', or the only one that holds text"
    )
    """The column of a table that holds the documents."""
    lines: bool = option(False, panel=TEXT)
    """Each line of a text file is a document."""
    paragraphs: bool = option(False, panel=TEXT)
    """Each paragraph of a text file is a document."""
    input_format: Format | None = option(None, panel=TEXT, auto="told from its first bytes")
    """The format of standard input."""


@dataclass(frozen=True)
class Train(TextOptions, TrainOptions):
    fields: str | None = option(None, metavar="NAME,NAME,…", names="columns", panel=TEXT, auto="one, of --column")
    """The columns of a table that make a document, in this order: each is written given those before it."""
    source: str | None = option(None, metavar="NAME", names="column", panel=PAIRS, auto="the first part of each text")
    """The column of a table that holds what is to be answered."""
    target: str | None = option(None, metavar="NAME", names="column", panel=PAIRS, auto="the rest of each text")
    """The column of a table that holds the answers."""
    source_ratio: float | None = option(None, above=0, max=0.99, panel=PAIRS, auto="0.5 without --source")
    """The share of a text's characters that is the source; the rest, which continues it, is the target."""
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
    arch: Literal["decoder-only", "encoder-decoder"] = option("decoder-only", panel=MODEL)
    """decoder-only writes texts, and goes on with one; encoder-decoder reads a source and answers it."""
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
    nhead: int | None = option(None, min=1, panel=PAIRS, auto="the width divided by 32 or 64")
    """Attention heads."""
    num_encoder_layers: int | None = option(None, min=1, panel=PAIRS, auto="from the preset")
    """Layers that read the source."""
    num_decoder_layers: int | None = option(None, min=1, panel=PAIRS, auto="from the preset")
    """Layers that write the target."""
    dim_feedforward: int | None = option(None, min=1, panel=PAIRS, auto="4 times the width")
    """The width of the feed-forward layers."""
    max_seq_length: int | None = option(None, min=2, panel=PAIRS, unit="tokens", auto="from the data")
    """Sources and targets are learned up to this length."""
    dropout: float | None = option(None, min=0, max=0.9, panel=EXPERT, auto="from the number of epochs")
    """The share of activations dropped in training."""
    weight_decay: float = option(0.1, min=0, panel=EXPERT)
    """Decoupled weight decay of the matrices."""

    def check(self) -> None:
        """Raises RequestError for options of another architecture than `arch`, and for such that contradict one another."""
        foreign = FOREIGN[self.arch]
        if named := [f"--{name.replace('_', '-')}" for name in foreign if getattr(self, name) is not None]:
            (other,) = FOREIGN.keys() - {self.arch}
            raise RequestError(f"{', '.join(named)}: only for --arch {other}")
        if (self.source is None) != (self.target is None):
            missing = "--source" if self.source is None else "--target"
            raise RequestError(f"--source and --target come together: {missing} is missing")
        if self.source is not None and self.source == self.target:
            raise RequestError(f"--source and --target both name {self.source!r}")
        for other in ("column", "source_ratio"):
            if self.source is not None and getattr(self, other) is not None:
                raise RequestError(f"--source and --{other.replace('_', '-')} exclude one another")


#: The options that each architecture has no use for.
FOREIGN = {
    "decoder-only": (
        "source", "target", "source_ratio", "nhead", "num_encoder_layers", "num_decoder_layers", "dim_feedforward",
        "max_seq_length",
    ),
    "encoder-decoder": ("fields", "context", "n_layers", "n_heads", "n_kv_heads", "d_ff"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TransformerPlan(Plan, Train):
    """What the training of a Transformer follows, whatever its architecture."""

    preset: Size
    d_model: int
    tied: bool
    dropout: float


@dataclass(frozen=True, kw_only=True)
class DecoderOnlyPlan(TransformerPlan):
    context: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_ff: int


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderPlan(TransformerPlan):
    nhead: int
    num_encoder_layers: int
    num_decoder_layers: int
    dim_feedforward: int
    max_seq_length: int


@dataclass(frozen=True)
class Sample(SampleOptions):
    prompt: str | None = option(None, metavar="TEXT|-|@FILE")
    """What the text begins with, or the source to answer; '-' reads one a line, @FILE takes a file's whole text."""
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
    beam: int | None = option(None, min=1, panel=MORE, auto="off")
    """Search for the likeliest texts rather than draw some: so many beginnings are pursued at once."""
    length_penalty: float | None = option(None, min=0, panel=MORE, auto="1")
    """--beam compares log-probabilities divided by this power of the length; 0 prefers short texts."""
    stop: tuple[str, ...] = option((), metavar="TEXT", panel=MORE)
    """End a sample before this text; may be repeated."""
    match: str | None = option(None, metavar="REGEX", panel=MORE, auto="off")
    """Every sample, or its last field, matches this regular expression as a whole (Rust's syntax; \\d is 0 to 9), unless
    --max-tokens cuts it."""
    echo: bool = option(False)
    """Print the prompt before each sample; a source, and a tab, before each answer."""
    stream: bool = option(False)
    """Print characters as they come."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Samples computed at once."""


@dataclass(frozen=True)
class Eval(TextOptions, EvalOptions):
    n: int = option(100, min=0, short="-n")
    """Samples to compare with human text, or sources to answer; 0 for none."""
    tokenize: Literal["auto", "13a", "intl", "zh", "char", "none"] = option("auto", panel=MORE)
    """How BLEU counts words in answers, by sacrebleu's names; auto is zh for Chinese, else 13a."""
    split: Literal["train", "val", "test"] | None = option(None, panel=TEXT, auto="test, else val, else all")
    """Which part of a data set that comes in splits."""
    batch_size: int = option(32, min=1, panel=EXPERT)
    """Rows of one context computed at once."""


BACKEND = Backend(
    name="transformer",
    summary="A Transformer language model for texts of any kind.",
    demo="demo:verse",
    options={"train": Train, "sample": Sample, "eval": Eval},
    meanings=MEANINGS,
    implementation="aigc_cli.backends.transformer.backend:TransformerBackend",
)
