"""The parts of evaluation that both architectures share: data, likelihood measures, baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.transformer.config import Eval, Train
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.prepare import layout_of, prepare
from aigc_cli.data.kinds import Kind
from aigc_cli.data.text.dataset import TextDataset, TokenArrays, check_unchanged, documents, encode_documents
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.device import return_freed_memory
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums
from aigc_cli.metrics.text.compression import xz_baseline
from aigc_cli.metrics.text.likelihood import bits_per_byte, bits_per_char, perplexity
from aigc_cli.metrics.text.ngram import ngram_baseline
from aigc_cli.options import rebuild

_FEW_TEXTS = 20

#: The most characters of training text for baselines and the search for copies.
MAX_TEXT = 64_000_000
#: Samples to compare with human text, or sources to answer, by default.
SAMPLES = 100


def samples_of(options: Eval) -> int:
    """How many samples or answers to measure."""
    return SAMPLES if options.n is None else options.n


def training_data(run: Run, options: Eval, bus: Bus) -> tuple[TextDataset | None, list[str]]:
    """The data the run was trained on, and notes. If it has changed: None with --data, otherwise `RequestError`."""
    if changed := check_unchanged(run.record["data"]):
        if options.data is None:
            raise RequestError(f"{changed[0]}; give data to evaluate on with --data")
        return None, [f"no baselines, and no comparison of samples with the training text: {changed[0]}"]
    data: TextDataset = prepare(rebuild(Train, run.record["plan"]), bus).arrays
    if data.explicit_val and options.data is None:
        return data, ["evaluated on the --val data, which also chose the checkpoint"]
    return data, []


def data_to_measure(
    loaded: Loaded[LanguageModel], options: Eval, data: TextDataset | None, kind: Kind, bus: Bus
) -> tuple[TokenArrays, str]:
    """The data to evaluate on, and its name: --data, or the half of the held-out data that chose no checkpoint."""
    if options.data is None:
        assert data is not None
        return data.report, "held-out"
    arrays = encode_documents(
        options.data,
        loaded.tokenizer,
        reading=Reading(_columns(loaded, options), layout_of(options), loaded.start.source_share, header=options.header),
        input_format=options.input_format,
        split=options.split,
        progress=bus.stage,
        tell=bus.note,
        kind=kind,
    )
    if data is not None and (known := in_training(arrays, data.train, loaded.tokenizer)):
        bus.note(f"{known:,} of {arrays.n_docs:,} texts of {options.data} are in the training data: their measures say little")
    return arrays, options.data


def in_training(arrays: TokenArrays, train: TokenArrays, tokenizer: Tokenizer) -> int:
    """How many texts are training texts, or begin with one of a few, the end of which may be held out."""
    if train.n_docs < _FEW_TEXTS:
        trained = tuple(documents(train, tokenizer))
        return sum(text.startswith(trained) for text in documents(arrays, tokenizer))
    seen = set(_hashes(arrays)).intersection(_hashes(train))
    return sum(found in seen for found in _hashes(arrays))


def _hashes(arrays: TokenArrays) -> Iterator[int]:
    return (hash(arrays.tokens[start:end].tobytes()) for start, end in arrays.spans())


def _columns(loaded: Loaded[LanguageModel], options: Eval) -> tuple[str, ...]:
    fields = loaded.start.fields if len(loaded.start.fields) > 1 else ()
    if options.column is None:
        return fields
    if fields:
        raise RequestError(f"--column: this run's documents have the fields {', '.join(fields)}")
    return (options.column,)


@dataclass(frozen=True)
class Units:
    """The units that intervals are taken over, an entry for each: the cost in nats, and the length in characters, bytes and
    tokens."""

    nats: NDArray[np.float64]
    chars: NDArray[np.int64]
    bytes: NDArray[np.int64]
    tokens: NDArray[np.integer]
    over: str
    fields: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = field(default_factory=dict)
    """By field, if documents have several: the cost in nats given the earlier fields, its end included, and its characters."""
    unknown: NDArray[np.float64] | None = None
    """The number of unknown words, if the tokenizer has any."""
    words: NDArray[np.integer] | None = None
    """The number of words."""


def likelihood_measures(units: Units, seed: int) -> dict[str, Measure]:
    over = {"over": units.over}
    of_fields = {
        f"bits_per_char_{name}": bits_per_char(nats, chars, seed=seed).beside(**over)
        for name, (nats, chars) in units.fields.items()
        if chars.any()
    }
    unknown: dict[str, Measure] = {}
    if units.unknown is not None and units.words is not None and units.words.any():
        unknown["unknown_words"] = ratio_of_sums(units.unknown, units.words, seed=seed).beside(
            **over, count=int(units.unknown.sum()), of=int(units.words.sum())
        )
    return {
        "bits_per_char": bits_per_char(units.nats, units.chars, seed=seed).beside(**over),
        "bits_per_byte": bits_per_byte(units.nats, units.bytes, seed=seed).beside(**over),
        "perplexity": perplexity(units.nats, units.tokens, seed=seed).beside(**over),
        **of_fields,
        **unknown,
    }


def baselines(
    train: Sequence[str], select: Sequence[str], report: Sequence[str], unit_chars: int | None, seed: int
) -> dict[str, Measure]:
    """Simple models of the same text: an n-gram model with the best order, and xz. Intervals are over documents, or over
    stretches of `unit_chars` characters."""
    return_freed_memory()  # fitting takes much more than the model did
    ngram = ngram_baseline(train, select, report, unit_chars=unit_chars, seed=seed)
    return {"baseline": ngram, "xz": xz_baseline(train, report)}
