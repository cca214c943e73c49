"""Token arrays on disk: written as a stream, read by memory mapping."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.text.pieces import End
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.data.text.unknown import UnknownWords, UnknownWriter, load_unknown

_BATCH_CHARS = 1 << 20  # per batch, encoded on all cores
_DECODED_TOKENS = 1 << 20
_SPANS = 1 << 16  # of documents, as Python's integers


@dataclass(frozen=True)
class TokenArrays:
    """The tokens of one split, memory-mapped and read-only. The only special tokens are unknown words and field separators."""

    tokens: npt.NDArray[Any]  # (n_tokens,) uint16 or uint32; documents one after another
    offsets: npt.NDArray[np.int64]  # (n_docs + 1,); document i is tokens[offsets[i]:offsets[i + 1]]
    chars: npt.NDArray[np.int64]  # (n_docs,) length of the normalised text in characters, over all fields
    bytes: npt.NDArray[np.int64]  # (n_docs,) length of the normalised text in UTF-8 bytes
    unknown: UnknownWords | None = None  # if the tokenizer has unknown words

    @property
    def n_docs(self) -> int:
        """The number of documents."""
        return len(self.chars)

    def extremes(self) -> dict[str, int]:
        """The numbers of the first, the longest and the shortest document."""
        return {"first": 0, "longest": int(self.chars.argmax()), "shortest": int(self.chars.argmin())}

    def spans(self) -> Iterator[tuple[int, int]]:
        """Where each document starts and ends in `tokens`."""
        for first in range(0, self.n_docs, _SPANS):
            yield from pairwise(self.offsets[first : first + _SPANS + 1].tolist())

    def ids(self, start: int, end: int) -> list[int]:
        """The tokens `start` … `end - 1` as returned by `Tokenizer.encode`, with the spelling of unknown words, for
        decoding."""
        tokens: list[int] = self.tokens[start:end].tolist()
        return tokens if self.unknown is None else self.unknown.spelled_out(tokens, start)


def documents(arrays: TokenArrays, tokenizer: Tokenizer) -> Iterator[str]:
    """The exact normalised text of each document, with line breaks between fields, without the source."""
    for start, end in arrays.spans():
        # In steps, because a Python list of all tokens may be many times as large as the document.
        steps = range(start, end, _DECODED_TOKENS)
        parts = (arrays.ids(at, min(at + _DECODED_TOKENS, end)) for at in steps)
        yield b"".join(map(tokenizer.decode_bytes, parts)).decode()


def document(arrays: TokenArrays, tokenizer: Tokenizer, number: int, limit: int) -> str:
    """The normalised text of one document; the beginning if it has more than `limit` tokens."""
    start, end = arrays.offsets[number : number + 2].tolist()
    text = tokenizer.decode_bytes(arrays.ids(start, min(end, start + limit))).decode("utf-8", "ignore")
    return text + "…" if end - start > limit else text


def encode_to(
    folders: Mapping[int, Path],
    pieces: Iterable[tuple[int, str, End]],
    tokenizer: Tokenizer,
    total_bytes: int | None,
    progress: Progress,
) -> None:
    """Tokenise pieces (split, text, what ends at its end) and write each split to its folder."""
    writers = {split: _Writer(folder, tokenizer) for split, folder in folders.items()}
    batch: list[tuple[int, str, End]] = []
    waiting = done = 0

    def flush() -> None:
        ids_of = tokenizer.encode_batch([text for _, text, _ in batch])
        for (split, text, end), ids in zip(batch, ids_of, strict=True):
            if end is End.FIELD:
                assert tokenizer.field_id is not None
                ids.append(tokenizer.field_id)
            writers[split].add(ids, text, ends=end is End.DOCUMENT)
        for writer in writers.values():
            writer.flush()
        batch.clear()

    try:
        for piece in pieces:
            batch.append(piece)
            waiting += len(piece[1])
            if waiting >= _BATCH_CHARS:
                done += sum(len(text.encode()) for _, text, _ in batch)
                flush()
                waiting = 0
                progress("tokenising", done, total_bytes)
        flush()
    finally:
        for writer in writers.values():
            writer.close()


class _Writer:
    """Writes the files of one split; they are complete after `close`."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        folder.mkdir(parents=True)
        self._ids = array("H" if _token_type(tokenizer.vocab_size) is np.uint16 else "I")
        unk_id = tokenizer.unk_id
        self._unknown = None if unk_id is None else UnknownWriter(folder, tokenizer.vocab_size, unk_id)
        self._offsets, self._chars, self._bytes = array("q", [0]), array("q"), array("q")
        self._n_tokens = self._n_chars = self._n_bytes = 0
        buffers = {"tokens": self._ids, "offsets": self._offsets, "chars": self._chars, "bytes": self._bytes}
        self._files = [((folder / f"{name}.bin").open("wb"), buffer) for name, buffer in buffers.items()]

    def add(self, ids: list[int], text: str, *, ends: bool) -> None:
        if self._unknown is not None:
            ids = self._unknown.add(ids, self._n_tokens)
        self._ids.fromlist(ids)
        self._n_tokens += len(ids)
        self._n_chars += len(text)
        self._n_bytes += len(text.encode())
        if ends:
            self._offsets.append(self._n_tokens)
            self._chars.append(self._n_chars)
            self._bytes.append(self._n_bytes)
            self._n_chars = self._n_bytes = 0

    def flush(self) -> None:
        for file, buffer in self._files:
            buffer.tofile(file)
            del buffer[:]
        if self._unknown is not None:
            self._unknown.flush()

    def close(self) -> None:
        for file, _ in self._files:
            file.close()
        if self._unknown is not None:
            self._unknown.close()


def load_arrays(folder: Path, vocab_size: int) -> TokenArrays:
    """Memory-map a split written by `encode_to`. Raises OSError or ValueError if it is missing or damaged."""
    tokens = np.memmap(folder / "tokens.bin", _token_type(vocab_size), mode="r")
    offsets, chars, sizes = (np.memmap(folder / f"{name}.bin", np.int64, mode="r") for name in ("offsets", "chars", "bytes"))
    if not len(offsets) == len(chars) + 1 == len(sizes) + 1 or offsets[-1] != len(tokens):
        raise ValueError(f"{folder} is damaged")
    return TokenArrays(tokens, offsets, chars, sizes, load_unknown(folder, vocab_size))


def _token_type(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32
