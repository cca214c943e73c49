"""Records of texts and pictures as tokens: a picture, or what is read as one, is the codes that a codec makes of it.

A record is `<sos> field_1 <field> field_2 … <eot>`, where a text field is its tokens and a picture field exactly as many codes
as the codec's grid has places. So the model that learns them is the one that learns texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.base import Codec
from aigc_cli.data import cache
from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.prepared.preparing import PictureArrays
from aigc_cli.data.records.dataset import RecordArrays, RecordDataset, RecordField
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.data.text.fitting import fit_tokenizer
from aigc_cli.data.text.request import TextRequest
from aigc_cli.data.text.tokenizers.choice import cjk_share
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, fit_bpe
from aigc_cli.data.text.tokens import TokenArrays

#: The most tokens of a text field; longer texts are cut.
LONGEST_TEXT = 256
#: Tokens of the BPE of the text fields.
VOCABULARY = 1024
#: Pictures that are encoded at once.
AT_ONCE = 256
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RecordTokens(TextDataset):
    """Records as tokens, and what they were made of."""

    records: RecordDataset
    codec: Codec

    @property
    def fields(self) -> tuple[RecordField, ...]:
        return self.records.fields

    @property
    def codes(self) -> tuple[int, ...]:
        """By field, the number of its codes; 0 for text."""
        return tuple(0 if field.is_text else places(self.codec) for field in self.fields)


def places(codec: Codec) -> int:
    """The number of codes of a picture."""
    return codec.grid[0] * codec.grid[1]


def fit(records: RecordDataset, request: TextRequest, n_codes: int, progress: Progress) -> tuple[Tokenizer, str]:
    """A tokenizer for the text fields and for codes, fitted on the training records, and the reason for its choice."""
    texts = [text for texts in records.train.texts.values() for text in texts]
    if request.tokenizer_from is not None:
        return Tokenizer.load(request.tokenizer_from), "from the run of --init-from"
    if request.tokenizer == "auto" and request.vocab_size is None and cjk_share(texts) <= 0.5:
        fitted, reason = fit_bpe(texts, VOCABULARY), f"short texts in few tokens, beside the codes of {records.pictures.things}"
    else:
        n_bytes = sum(len(text.encode()) for text in texts)
        fitted, reason = fit_tokenizer(request, texts or [""], n_bytes, progress)
    fitted = fitted.with_lower() if request.reading.lower else fitted
    return fitted.with_fields().with_codes(n_codes), reason


def tokens_of(
    arrays: RecordArrays, fields: Sequence[RecordField], tokenizer: Tokenizer, codes: NDArray[np.int64]
) -> tuple[TokenArrays, int]:
    """The tokens of records with these `codes` (n, places), and how many texts were cut."""
    assert tokenizer.field_id is not None
    n, cut = len(arrays.pictures), 0
    columns: list[list[list[int]]] = []
    chars, sizes = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for field in fields:
        if not field.is_text:
            columns.append((codes + tokenizer.codes.start).tolist())
            continue
        texts = [tokenizer.normalise(text) for text in arrays.texts[field.name]]
        ids_of = tokenizer.encode_batch(texts)
        for number, ids in enumerate(ids_of):
            if len(ids) > LONGEST_TEXT:
                ids_of[number] = ids[:LONGEST_TEXT]
                texts[number] = tokenizer.decode(ids_of[number])
                cut += 1
        columns.append(ids_of)
        chars += [len(text) for text in texts]
        sizes += [len(text.encode()) for text in texts]
    tokens: list[int] = []
    offsets = [0]
    for row in zip(*columns, strict=True):
        for number, ids in enumerate(row):
            tokens += ids if not number else [tokenizer.field_id, *ids]
        offsets.append(len(tokens))
    # A record without text counts as one character, so that ratios to characters exist.
    return TokenArrays(np.array(tokens, np.uint32), np.array(offsets), np.maximum(chars, 1), np.maximum(sizes, 1)), cut


def parts_of(arrays: TokenArrays, number: int, tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of each field of a record."""
    parts: list[list[int]] = [[]]
    for token in arrays.tokens[arrays.offsets[number] : arrays.offsets[number + 1]].tolist():
        if token == tokenizer.field_id:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def prompt_of(leading: Sequence[Sequence[int]], tokenizer: Tokenizer) -> list[int]:
    """The tokens of a record up to its last field, from those of its leading fields."""
    assert tokenizer.field_id is not None
    prompt = [tokenizer.sos_id]
    for part in leading:
        prompt += [*part, tokenizer.field_id]
    return prompt


def codes_of(pictures: PictureArrays, codec: Codec, codec_folder: Path, progress: Progress) -> NDArray[np.int64]:
    """The codes of pictures (n, places), from the cache if they were made before; a picture of several records is encoded
    once."""
    rows, record_of = np.unique(pictures.rows, return_inverse=True)
    key = cache.key_of("codes", _VERSION, _digest(pictures, rows), fingerprint(codec_folder))
    if (found := _load(key, len(rows), codec)) is None:
        parts = []
        for at in range(0, len(rows), AT_ONCE):
            parts.append(codec.encode(np.asarray(pictures.pixels[rows[at : at + AT_ONCE]])))
            progress(f"encoding {codec.data['kind']}", min(at + AT_ONCE, len(rows)), len(rows))
        found = np.concatenate(parts)
        cache.again(partial(_keep, key, found))
    return found[record_of]


def _keep(key: str, codes: NDArray[np.int64]) -> None:
    with cache.new_entry(key) as folder:
        np.save(folder / "codes.npy", codes.astype(np.uint32))


def _load(key: str, n: int, codec: Codec) -> NDArray[np.int64] | None:
    """The codes in the cache; None if there are none, or they are damaged."""
    folder = cache.lookup(key)
    if folder is None:
        return None
    try:
        found: NDArray[np.int64] = np.load(folder / "codes.npy", allow_pickle=False).astype(np.int64)
    except (OSError, ValueError):
        found = np.empty(0, np.int64)
    if found.shape != (n, places(codec)) or found.max(initial=0) >= codec.n_codes:
        cache.discard(key)
        return None
    return found


def _digest(pictures: PictureArrays, rows: NDArray[np.int64]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for chunk in _chunks(pictures, rows):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(pictures: PictureArrays, rows: NDArray[np.int64]) -> Iterator[bytes]:
    return (np.asarray(pictures.pixels[rows[at : at + AT_ONCE]]).tobytes() for at in range(0, len(rows), AT_ONCE))


def fingerprint(codec_folder: Path) -> str:
    """A hash of everything a codec's model folder holds."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in codec_folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
