"""The compression baseline: what a general-purpose compressor achieves on the same text."""

from __future__ import annotations

import lzma
from collections.abc import Sequence

from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.text.symbols import thin

MAX_TRAIN_CHARS = 4_000_000
MAX_HELD_OUT_CHARS = 4_000_000


def xz_baseline(
    train: Sequence[str],
    report: Sequence[str],
    *,
    max_train_chars: int = MAX_TRAIN_CHARS,
    max_held_out_chars: int = MAX_HELD_OUT_CHARS,
) -> Measure:
    """Bits per character that xz needs for the `report` documents after the training text.

    8 · (C(train + report) − C(train)) / characters, where C is the length in bytes under LZMA2 at preset 9,
    "extreme", with a dictionary that holds both. A byte that UTF-8 never uses ends each document. Longer
    inputs are thinned to the caps by taking every k-th document, and `extra` says how much was used. There is
    no interval, since the size of a compressed text is not a sum over its documents.

    Raises `RequestError` if the `report` documents are empty.
    """
    known, new = thin(train, max_train_chars), thin(report, max_held_out_chars)
    chars = sum(map(len, new))
    if chars == 0:
        raise RequestError("there is nothing to measure: the data has no text in it")
    prefix, rest = _utf8(known), _utf8(new)
    dictionary = max(1 << 12, len(prefix) + len(rest))
    cost = _compressed_size(prefix + rest, dictionary) - _compressed_size(prefix, dictionary)
    used = {
        "train_chars": sum(map(len, known)),
        "report_chars": chars,
        "train_chars_available": sum(map(len, train)),
        "report_chars_available": sum(map(len, report)),
    }
    return Measure(8 * cost / chars, None, None, len(new), "bits/char", used)


def _utf8(documents: Sequence[str]) -> bytes:
    return b"".join(document.encode() + b"\xff" for document in documents)


def _compressed_size(data: bytes, dictionary: int) -> int:
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=[lzma2]))
