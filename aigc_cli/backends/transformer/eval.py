"""What the evaluations of both architectures share: the data, what is measured over which units, baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.transformer.config import Eval, Train
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.prepare import layout_of, prepare
from aigc_cli.data.text.dataset import TextDataset, TokenArrays, check_unchanged, encode_documents
from aigc_cli.data.text.documents import Reading
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums
from aigc_cli.metrics.text.compression import xz_baseline
from aigc_cli.metrics.text.likelihood import bits_per_byte, bits_per_char, perplexity
from aigc_cli.metrics.text.ngram import ngram_baseline
from aigc_cli.options import rebuild

#: Characters of training text that the baselines and the copies look at, at most.
MAX_TEXT = 64_000_000


def training_data(run: Run, options: Eval, bus: Bus) -> tuple[TextDataset | None, list[str]]:
    """The data that the run was trained on, which must be as they were; None when they aren't and others are measured."""
    if changed := check_unchanged(run.record["data"]):
        if options.data is None:
            raise RequestError(f"{changed[0]}; name the data to measure on with --data")
        return None, [f"{changed[0]}: no baselines, and no comparison of samples with the training text"]
    data: TextDataset = prepare(rebuild(Train, run.record["plan"]), bus).arrays
    if data.explicit_val and options.data is None:
        return data, ["measured on the --val data, which also chose the checkpoint"]
    return data, []


def data_to_measure(
    loaded: Loaded[LanguageModel], options: Eval, data: TextDataset | None, bus: Bus
) -> tuple[TokenArrays, str]:
    """What to measure on: --data, or the half of the held-out slice that chose nothing."""
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
    )
    return arrays, options.data


def _columns(loaded: Loaded[LanguageModel], options: Eval) -> tuple[str, ...]:
    fields = loaded.start.fields if len(loaded.start.fields) > 1 else ()
    if options.column is None:
        return fields
    if fields:
        raise RequestError(f"--column: this run's documents have the fields {', '.join(fields)}")
    return (options.column,)


@dataclass(frozen=True)
class Units:
    """What an interval is taken over, an entry each: the cost in nats, and the length in characters, bytes and tokens."""

    nats: NDArray[np.float64]
    chars: NDArray[np.int64]
    bytes: NDArray[np.int64]
    tokens: NDArray[np.int64]
    over: str
    fields: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = field(default_factory=dict)
    """Of several in a document, what each costs in nats given those before it, its end included, and its characters."""
    unknown: NDArray[np.float64] | None = None
    """Unknown words, where the tokenizer has such."""
    words: NDArray[np.int64] | None = None
    """And how many words there are."""


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
    """What simple means make of the same text: the best order of an n-gram model, and xz. The interval is over documents, or
    over stretches of `unit_chars`."""
    ngram = ngram_baseline(train, select, report, unit_chars=unit_chars, seed=seed)
    return {"baseline": ngram, "xz": xz_baseline(train, report)}
