"""The Transformer's options. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from aigc_cli.backends.base import Backend, EvalOptions, SampleOptions
from aigc_cli.backends.transformer.meanings import MEANINGS
from aigc_cli.engine.settings import OUTPUT, CommandOptions, Plan, TrainOptions
from aigc_cli.errors import RequestError
from aigc_cli.options import EXPERT, MORE, option

MODEL = "Model"
PAIRS = "Answers: --arch encoder-decoder"
TEXT = "Reading the data"
PICTURES = "Pictures in records"
SOUNDS = "Sounds in records"
Format = Literal["txt", "tsv", "csv", "json", "jsonl", "parquet", "arrow", "mid"]
Size = Literal["nano", "micro", "tiny", "mini", "small", "medium", "base"]


@dataclass(frozen=True)
class TextOptions(CommandOptions):
    """How to read a source as documents."""

    column: str | None = option(
        None, text=True, metavar="NAME", names="column", panel=TEXT, auto="'text', or the only one with texts"
    )
    """The column with the documents."""
    lines: bool = option(False, panel=TEXT)
    """Each line of a text file is a document."""
    paragraphs: bool = option(False, panel=TEXT)
    """Each paragraph of a text file is a document."""
    header: bool | None = option(None, panel=TEXT, auto="found out")
    """The first row of TSV and CSV names the columns. Without a header they are called 1, 2, …"""
    input_format: Format | None = option(None, panel=TEXT, auto="from its first bytes")
    """Format of standard input."""


@dataclass(frozen=True)
class Train(TextOptions, TrainOptions):
    fields: str | None = option(None, text=True, metavar="NAME,NAME,…", names="columns", panel=TEXT, auto="only --column")
    """The columns that make up a document, in this order; each is generated given those before it."""
    source: str | None = option(
        None, text=True, metavar="NAME", names="column", panel=PAIRS, auto="the first part of each text"
    )
    """The column with the sources, which are to be answered."""
    target: str | None = option(None, text=True, metavar="NAME", names="column", panel=PAIRS, auto="the rest of each text")
    """The column with the targets, the answers."""
    source_ratio: float | None = option(None, above=0, max=0.99, panel=PAIRS, auto="0.5 without --source")
    """Share of a text's characters that is the source; the rest is the target."""
    dedup: Literal["exact", "near"] = option("exact", panel=TEXT)
    """Leave out exact copies only, or also training texts that are near duplicates of held-out ones."""
    codec: str | None = option(None, metavar="RUN", names="run", panel=PICTURES, auto="trained first, in a third of the time")
    """The run that turns pictures or sounds into codes and back, trained by `aigc train vae --codes`."""
    size: str | None = option(
        None, metavar="N|WxH", panel=PICTURES, unit="pixels", auto="the pictures' own, at most 64 to 256 from --minutes"
    )
    """Resize the pictures of records to this: a side, or width x height."""
    mode: Literal["L", "RGB", "RGBA"] | None = option(None, panel=PICTURES, auto="L if all are grey, otherwise RGB")
    """Greyscale, colour, or colour with transparency."""
    rate: int | None = option(None, panel=SOUNDS, unit="Hz", auto="the lowest usual one that keeps their energy, 8000 to 48000")
    """Samples per second, of the sounds of records."""
    seconds: float | None = option(None, panel=SOUNDS, auto="as long as nearly all")
    """Length of the sounds."""
    channels: Literal[1, 2] | None = option(None, panel=SOUNDS, auto="2 if left and right differ in most")
    """Mono or stereo."""
    trim: bool | None = option(None, panel=SOUNDS, auto="if it makes them much shorter")
    """Cut off silence at both ends."""
    tokenizer: str = option("auto", text=True, metavar="auto|char|bpe|byte|word|spacy:PIPELINE", panel=TEXT)
    """How to tokenize. auto decides by script and size, and says why; word uses Unicode's words, spacy:PIPELINE those of an
    installed pipeline, spacy:blank:LANG those of a language."""
    vocab_size: int | None = option(None, min=5, panel=TEXT, unit="tokens", auto="from the data")
    """Maximum vocabulary size of bpe and word tokenizers."""
    lower: bool = option(False, panel=TEXT)
    """Lower-case all text, in training and in everything that uses the model."""
    min_freq: int | None = option(None, min=1, panel=TEXT, auto="5")
    """Minimum number of times a word occurs in the training text to be a token; rarer words are spelled by characters."""
    unk: bool = option(False, panel=TEXT)
    """Make rarer words <unk> instead, which is charged for its spelling in evaluation and never generated."""
    tokenizer_budget: float | None = option(
        None, above=0, panel=EXPERT, unit="floating-point operations", auto="from --minutes"
    )
    """Training compute that --tokenizer auto chooses for; more of it affords a larger vocabulary, or finer tokens."""
    arch: Literal["decoder-only", "encoder-decoder"] = option("decoder-only", panel=MODEL)
    """decoder-only generates and continues texts; encoder-decoder reads a source and answers it."""
    preset: Size | None = option(None, panel=MODEL, auto="from the budget")
    """Size of the model; the options below override parts of it."""
    context: int | None = option(
        None, min=2, panel=MODEL, unit="tokens", auto="from the preset and the documents' lengths", aliases=("max_seq_length",)
    )
    """Context length: how far back the model can look; with encoder-decoder, longer sources and targets are cut in training."""
    n_layers: int | None = option(None, min=1, panel=MODEL, auto="from the preset")
    """Number of Transformer blocks."""
    d_model: int | None = option(None, min=8, panel=MODEL, auto="from the preset")
    """Width of the model."""
    n_heads: int | None = option(None, min=1, panel=MODEL, auto="--d-model divided by 32 or 64", aliases=("nhead",))
    """Attention heads."""
    n_kv_heads: int | None = option(None, min=1, panel=MODEL, auto="--n-heads")
    """Key and value heads; fewer than --n-heads is grouped-query attention."""
    d_ff: int | None = option(
        None, min=1, panel=MODEL, auto="8/3 of --d-model; with encoder-decoder, 4 times", aliases=("dim_feedforward",)
    )
    """Width of the feed-forward layer."""
    tied: bool | None = option(None, panel=MODEL, auto="tied")
    """Tie the output layer to the embedding matrix."""
    num_encoder_layers: int | None = option(None, min=1, panel=PAIRS, auto="from the preset")
    """Number of encoder layers."""
    num_decoder_layers: int | None = option(None, min=1, panel=PAIRS, auto="from the preset")
    """Number of decoder layers."""
    dropout: float | None = option(None, min=0, max=0.9, panel=EXPERT, auto="from the number of epochs")
    """Dropout probability in training."""
    last_field: float | None = option(None, min=0, max=0.99, panel=EXPERT, auto="0.5")
    """For records with pictures, the least share of the weights in the loss that the last field has, so that an answer isn't
    lost beside the many codes of its picture."""
    together: bool | None = option(None, panel=EXPERT, auto="if that saves a third of the tokens")
    """For records with pictures: learn those with the same first field together, so that it is read only once."""
    weight_decay: float = option(0.1, min=0, panel=EXPERT)
    """Decoupled weight decay of the weight matrices."""

    def check(self) -> None:
        """Raises RequestError for options of another architecture than `arch`, and for contradictory ones."""
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
                raise RequestError(f"--source and --{other.replace('_', '-')} can't be used together")


#: The options that each architecture has no use for.
FOREIGN = {
    "decoder-only": ("source", "target", "source_ratio", "num_encoder_layers", "num_decoder_layers"),
    "encoder-decoder": ("fields", "n_layers", "n_kv_heads", "together", "last_field"),
}


@dataclass(frozen=True, kw_only=True)
class TransformerPlan(Plan, Train):
    """What the training of a Transformer follows, whatever its architecture."""

    preset: Size
    context: int
    d_model: int
    n_heads: int
    d_ff: int
    tied: bool
    dropout: float


@dataclass(frozen=True, kw_only=True)
class DecoderOnlyPlan(TransformerPlan):
    earlier: ClassVar[Mapping[str, Any]] = {"last_field": 0.0, "together": False}

    n_layers: int
    n_kv_heads: int
    together: bool
    last_field: float


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderPlan(TransformerPlan):
    num_encoder_layers: int
    num_decoder_layers: int


@dataclass(frozen=True)
class Sample(SampleOptions):
    prompt: str | None = option(None, text=True, metavar="TEXT|-|@FILE")
    """What the text begins with, or the source to answer; '-' reads one per line of standard input (\\n is a line break),
    @FILE a whole file."""
    given: tuple[str, ...] = option((), text=True, metavar="FIELD=TEXT|-")
    """Text of a leading field of --fields, or the file of a picture or sound; repeatable. '-' reads one JSON object of fields
    per line of standard input."""
    max_tokens: int | None = option(None, min=1, unit="tokens", auto="until the document ends")
    """Maximum length of a sample, all its fields together."""
    temperature: float = option(1.0, min=0)
    """Below 1, samples are safer; above 1, more surprising; 0 always picks the likeliest token."""
    top_k: int | None = option(None, min=1, panel=MORE, auto="off")
    """Sample only from the K likeliest tokens."""
    top_p: float | None = option(None, above=0, max=1, panel=MORE, auto="off")
    """Sample only from the likeliest tokens with total probability P (nucleus sampling)."""
    min_p: float | None = option(None, min=0, max=1, panel=MORE, auto="off")
    """Sample only from tokens at least P times as likely as the likeliest."""
    repetition_penalty: float = option(1.0, above=0, panel=MORE)
    """Above 1, tokens that have already occurred become less likely."""
    beam: int | None = option(None, min=1, panel=MORE, auto="off")
    """Beam search with this many beams, instead of sampling."""
    length_penalty: float | None = option(None, min=0, panel=MORE, auto="1")
    """--beam divides log-probabilities by the length to this power; 0 prefers short texts."""
    stop: tuple[str, ...] = option((), text=True, metavar="TEXT", panel=MORE)
    """End a sample before this text; repeatable."""
    guidance: float | None = option(None, min=0, panel=MORE, auto="1.5 for pictures and sounds, 1 (none) for texts")
    """How much to exaggerate what is given, for records with pictures or sounds whose last field is generated from all the
    others."""
    match: str | None = option(None, text=True, metavar="REGEX", panel=MORE, auto="off")
    """Make every sample (or its last field) match this regular expression as a whole (Rust's syntax; \\d is 0 to 9), unless
    --max-tokens cuts it off."""
    echo: bool = option(False)
    """Print the prompt before each sample, or the source and a tab before each answer."""
    stream: bool = option(False)
    """Print characters as they are generated."""
    format: Literal["png", "jpeg", "webp", "mid", "wav", "flac", "ogg"] | None = option(
        None, panel=OUTPUT, auto="png, wav or mid"
    )
    """Format of files in a folder or tar: of pictures or sounds, if the last field is one, or of music, which FluidSynth plays
    into a .wav."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Samples per batch."""

    def expected(self) -> int | None:
        return None if self.prompt == "-" or "-" in self.given else self.n


@dataclass(frozen=True)
class Eval(TextOptions, EvalOptions):
    n: int | None = option(None, min=0, short="-n", auto="100, or 1,000 pictures or sounds")
    """Number of samples to compare with human text or real pictures or sounds, or of sources to answer; 0 skips it."""
    tokenize: Literal["auto", "13a", "intl", "zh", "char", "none"] = option("auto", panel=MORE)
    """How BLEU splits answers into words, by sacrebleu's names; auto is zh for Chinese, otherwise 13a."""
    split: Literal["train", "val", "test"] | None = option(None, panel=TEXT, auto="test, otherwise val, otherwise all")
    """The split to evaluate on, if the data set comes in splits."""
    batch_size: int = option(32, min=1, panel=EXPERT)
    """Rows of one context per batch."""


BACKEND = Backend(
    name="transformer",
    summary="A Transformer language model for texts of any kind, music and records.",
    demo="demo:verse",
    options={"train": Train, "sample": Sample, "eval": Eval},
    meanings=MEANINGS,
    implementation="aigc_cli.backends.transformer.backend:TransformerBackend",
    kinds=("text", "pictures", "sounds", "music"),
)
