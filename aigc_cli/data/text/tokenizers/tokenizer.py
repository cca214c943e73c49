"""Lossless tokenizers: characters, byte-level BPE, bytes, or (`words`) whole words.

All are byte-level: every token stands for a fixed sequence of bytes, and each of the 256 bytes has a token. So no text is
unknown, unless `<unk>` is asked for, and `decode(encode(text)) == normalise(text)` for every text. They are saved as a standard
`tokenizer.json`, with which `transformers.AutoTokenizer` gives the same ids; except for spaCy's words, which that format can't
express.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer

from aigc_cli.data.text.tokenizers.spacy_words import SpacyWords, is_spacy
from aigc_cli.data.text.tokenizers.special_tokens import CODE, END_OF_FIELD, END_OF_TEXT, EOS, OF_WORDS, PAD, SOS, UNK
from aigc_cli.data.text.tokenizers.spelling import Spelling
from aigc_cli.errors import RequestError
from aigc_cli.files import read_json, read_limited

# Otherwise the library warns on standard error when this process forks.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

# Qwen2's pre-tokenizer, verbatim (https://huggingface.co/Qwen/Qwen2-7B/blob/main/tokenizer.json).
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

UNICODE_WORDS = r"(?y{w}) +(?= \S)| ?(?=\S)\X|\X"
"""Unicode words (UAX #29), as a regular expression for Oniguruma, which readers of `tokenizer.json` use: with `(?y{w})`, `\\X`
matches up to the next word boundary. A match is a word with the space before it, as in GPT-2; all but the last of several
spaces before a word; or white space at the end of a line."""
_UNICODE_SPLIT = pre_tokenizers.Split(Regex(UNICODE_WORDS), behavior="isolated")

# Characters outside of blocks whose characters are their own NFC form and don't combine with neighbours. Text without them,
# which is nearly all text, needs no normalisation; other text goes to the normaliser that the tokenizer itself uses, so that
# their Unicode versions can't differ.
_MAY_CHANGE = re.compile(
    "[^\x00-\u02ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u3000-\u3029\u3041-\u3096\u309d-\u30ff"
    "\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]"
)
_LARGEST = 1 << 28  # bytes of a tokenizer's file
_NFC = normalizers.NFC()
_LOWER = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase(), normalizers.NFC()])


def normalise(text: str, *, lower: bool = False) -> str:
    """Unicode normal form C (never KC), optionally in lower case. Nothing else is changed."""
    if lower:
        return text.lower() if text.isascii() else _LOWER.normalize_str(text)
    return _NFC.normalize_str(text) if _MAY_CHANGE.search(text) else text


def unicode_pieces(text: str) -> list[str]:
    """A text's words and everything between them; joined, they are the text."""
    return [piece for piece, _ in _UNICODE_SPLIT.pre_tokenize_str(text)]


def _byte_symbols() -> list[str]:
    """The printable character for each byte in byte-level BPE (`bytes_to_unicode` of GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


SYMBOLS = _byte_symbols()
_BYTE_OF = {symbol: byte for byte, symbol in enumerate(SYMBOLS)}


def symbols_of(text: str) -> str:
    """A text in the symbols of a byte-level vocabulary."""
    return "".join(SYMBOLS[byte] for byte in text.encode())


class Tokenizer:
    """A byte-level tokenizer. Made by `fit_char`, `fit_bpe`, `byte`, `words.fit_word` or `load`; `with_fields`, `with_codes`
    and `with_lower` add fields, codes and lower case.

    With a `segmenter`, words are those of the segmenter. With a `spelling`, a word that is not in the vocabulary becomes the id
    `unk_id`, followed by vocab_size + b for each byte b of its UTF-8. `decode` uses the latter; models never see them.
    """

    def __init__(
        self, rust: RustTokenizer, kind: str, segmenter: SpacyWords | None = None, spelling: Spelling | None = None
    ) -> None:
        self.kind = kind  # char, bpe, byte, word or spacy:PIPELINE
        self.segmenter, self.spelling = segmenter, spelling
        self.changes: list[str] = []  # of the segmenter's packages, since the tokenizer was saved
        rust.encode_special_tokens = True  # the text of a special token in data or a prompt is ordinary text
        self._rust = rust
        self.lower = rust.normalizer.normalize_str("A") == "a"
        vocab = rust.get_vocab(with_added_tokens=True)
        self.vocab_size = len(vocab)
        special = OF_WORDS if is_of_words(kind) else (END_OF_TEXT,) * 4
        self.pad_id, unk_id, self.sos_id, self.eot_id = (vocab[token] for token in special)
        self.unk_id = unk_id if spelling else None  # None if no word is unknown
        self.unwritten = sorted({self.pad_id, unk_id, self.sos_id} - {self.eot_id})
        """Tokens that must not be generated."""
        self.field_id = vocab.get(END_OF_FIELD)  # None if documents have one field
        self.codes = _codes(vocab)
        """Tokens that are discrete codes, of no text; empty if there are none."""
        self._bytes = [b""] * self.vocab_size
        for token, index in vocab.items():
            if index == self.field_id:
                self._bytes[index] = b"\n"
            elif token not in special and index not in self.codes:
                self._bytes[index] = bytes(_BYTE_OF[symbol] for symbol in token)
        self._pieces: Callable[[str], list[str]] | None = None  # if the library doesn't split into pieces itself
        if spelling:
            self._known = {word: index for index, word in enumerate(self._bytes) if word and index != self.field_id}
            self._bytes += [bytes([byte]) for byte in range(256)]
            self._pieces = unicode_pieces
        if segmenter:
            self._pieces = segmenter.pieces
        self._ids_of = lru_cache(1 << 16)(self._of_piece)

    def with_fields(self) -> Tokenizer:
        """The same tokenizer with an additional token that ends a field."""
        rust = RustTokenizer.from_str(self._rust.to_str())
        rust.add_special_tokens([AddedToken(END_OF_FIELD, special=True, normalized=False)])
        return Tokenizer(rust, self.kind, self.segmenter, self.spelling)

    def with_codes(self, n: int) -> Tokenizer:
        """The same tokenizer with n additional tokens for discrete codes."""
        rust = RustTokenizer.from_str(self._rust.to_str())
        rust.add_special_tokens([AddedToken(CODE.format(code), special=True, normalized=False) for code in range(n)])
        return Tokenizer(rust, self.kind, self.segmenter, self.spelling)

    def with_lower(self) -> Tokenizer:
        """The same tokenizer, but text is converted to lower case."""
        rust = RustTokenizer.from_str(self._rust.to_str())
        rust.normalizer = _LOWER
        return Tokenizer(rust, self.kind, self.segmenter, self.spelling)

    def normalise(self, text: str) -> str:
        """The text as the tokenizer sees it: `decode(encode(text))`."""
        return normalise(text, lower=self.lower)

    def encode(self, text: str) -> list[int]:
        """The ids of the normalised text. The only special tokens are those of unknown words."""
        if self._pieces is not None:
            return [index for piece in self._pieces(self.normalise(text)) for index in self._ids_of(piece)]
        ids: list[int] = self._rust.encode(text).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` each text, on all cores if the library does it."""
        if self._pieces is not None:
            return [self.encode(text) for text in texts]
        return [encoding.ids for encoding in self._rust.encode_batch_fast(texts)]

    def _of_piece(self, piece: str) -> tuple[int, ...]:
        if self.unk_id is None:
            return tuple(self._rust.encode(piece).ids)
        word = piece.encode()
        known = self._known.get(word)
        return (self.unk_id, *(self.vocab_size + byte for byte in word)) if known is None else (known,)

    def seen(self, ids: Iterable[int]) -> list[int]:
        """The ids a model sees: without the spelling of unknown words."""
        return [index for index in ids if index < self.vocab_size]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes of the ids: nothing for the end of a document, a line break for the end of a field."""
        table = self._bytes
        return b"".join([table[index] for index in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; invalid UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def fingerprint(self) -> str:
        """A hash of everything that determines the tokenizer's output."""
        parts: list[str] = [self._rust.to_str()]
        if self.segmenter:
            parts.append(json.dumps(self.segmenter.record()))
        if self.spelling:
            parts.append(json.dumps(self.spelling.to_json()))
        return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and its configuration, for `load` and transformers' `AutoTokenizer`. With spaCy's words, write
        words.json instead, and a configuration that `AutoTokenizer` refuses."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / ("words.json" if self.segmenter else "tokenizer.json")
        file.write_text(self._rust.to_str(pretty=True), encoding="utf-8")
        tokens = dict.fromkeys(("bos_token", "eos_token", "pad_token"), END_OF_TEXT)
        if is_of_words(self.kind):
            tokens = {"bos_token": SOS, "eos_token": EOS, "pad_token": PAD, "unk_token": UNK}
        config: dict[str, Any] = {
            "tokenizer_class": "AigcSpacyWords" if self.segmenter else "PreTrainedTokenizerFast",
            **tokens,
            "add_bos_token": False,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,
            "kind": self.kind,
        }
        if self.segmenter:
            config["spacy"] = self.segmenter.record()
        if self.spelling:
            (folder / "spelling.json").write_text(json.dumps(self.spelling.to_json()) + "\n", encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Load a folder written by `save`. Raises OSError or ValueError if it is missing or damaged, and `RequestError` if
        spaCy or the pipeline it needs is not installed."""
        try:
            config = read_json(folder / "tokenizer_config.json")
            segmenter = SpacyWords.recorded(config["spacy"]) if "spacy" in config else None
            text = read_limited(folder / ("words.json" if segmenter else "tokenizer.json"), _LARGEST).decode()
            spelling = folder / "spelling.json"
            spelled = Spelling.from_json(read_json(spelling, _LARGEST)) if spelling.exists() else None
            tokenizer = cls(RustTokenizer.from_str(text), config["kind"], segmenter, spelled)
            tokenizer.changes = segmenter.changes(config["spacy"]) if segmenter else []
            return tokenizer
        except (OSError, RequestError):
            raise
        except BaseException as error:  # the library raises bare Exception, or what its panics are
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise ValueError(f"{folder} has no tokenizer written by aigc: {error}") from error


def _codes(vocab: Mapping[str, int]) -> range:
    """The tokens of a vocabulary that are codes. Raises ValueError if they don't follow one another."""
    first = vocab.get(CODE.format(0))
    if first is None:
        return range(0)
    n = next(code for code in count(1) if CODE.format(code) not in vocab)
    if any(vocab[CODE.format(code)] != first + code for code in range(n)):
        raise ValueError("the codes are out of order")
    return range(first, first + n)


def is_of_words(kind: str) -> bool:
    """Whether the tokens of this kind of tokenizer are words."""
    return kind == "word" or is_spacy(kind)


def byte() -> Tokenizer:
    """A token for each byte."""
    return _from_characters([], "byte")


def fit_char(texts: Iterable[str], *, min_count: int = 2) -> Tokenizer:
    """A token for each character that occurs at least `min_count` times; other characters fall back to bytes.

    This is a byte-level BPE whose merges build each character from its bytes, left to right. A merge joins a lead byte with the
    continuation bytes after it, so no merge crosses into the next character.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalise(text))
    return _from_characters([char for char, count in sorted(counts.items()) if count >= min_count], "char")


def _from_characters(chars: Iterable[str], kind: str) -> Tokenizer:
    vocab = {END_OF_TEXT: 0} | {symbol: 1 + byte for byte, symbol in enumerate(SYMBOLS)}
    merges: list[tuple[str, str]] = []
    for char in chars:
        for prefix, last in merges_of(char):
            if prefix + last not in vocab:
                vocab[prefix + last] = len(vocab)
                merges.append((prefix, last))
    rust = RustTokenizer(models.BPE(vocab=vocab, merges=merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return finished(rust, kind)


def merges_of(char: str) -> list[tuple[str, str]]:
    """The merges that build a character from the symbols of its bytes, left to right."""
    symbols = symbols_of(char)
    return [(symbols[:end], symbols[end]) for end in range(1, len(symbols))]


def fit_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE like Qwen2's, with at most `vocab_size` ≥ 257 tokens; fewer for short texts."""
    rust = RustTokenizer(models.BPE())
    rust.normalizer = _NFC
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(texts, trainer)
    return finished(rust, "bpe")


def finished(
    rust: RustTokenizer, kind: str, segmenter: SpacyWords | None = None, spelling: Spelling | None = None
) -> Tokenizer:
    """A tokenizer from a model and a pre-tokenizer, completed with the parts that all our tokenizers share."""
    rust.normalizer = _NFC
    rust.decoder = decoders.ByteLevel()
    rust.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    special = OF_WORDS if is_of_words(kind) else (END_OF_TEXT,)
    rust.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return Tokenizer(rust, kind, segmenter, spelling)
