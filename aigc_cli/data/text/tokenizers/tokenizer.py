"""From text to token ids and back without loss: characters, byte-level BPE, bytes, or (`words`) whole words.

All are byte-level: every token stands for a fixed sequence of bytes, and each of the 256 bytes has a token. So
there is no unknown token, unless it is asked for, and `decode(encode(text)) == normalise(text)` for every text. They are
written as a standard `tokenizer.json`, which `transformers.AutoTokenizer` reads to the same ids; but for words that spaCy
cuts, which no such file can express.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer

from aigc_cli.data.text.tokenizers.spacy_words import SpacyWords, is_spacy
from aigc_cli.data.text.tokenizers.special_tokens import END_OF_FIELD, END_OF_TEXT, EOS, OF_WORDS, PAD, SOS, UNK
from aigc_cli.data.text.tokenizers.spelling import Spelling
from aigc_cli.errors import RequestError

# Said outright, for else the library warns on standard error whenever this process starts another one.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

# Qwen2's pre-tokenizer (https://huggingface.co/Qwen/Qwen2-7B/blob/main/tokenizer.json), character for
# character.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

UNICODE_WORDS = r"(?y{w}) +(?= \S)| ?(?=\S)\X|\X"
"""Words as Unicode has them (UAX #29). Oniguruma, whose regular expressions `tokenizer.json` is written in, knows the rules:
with `(?y{w})`, `\\X` is the text up to the next word boundary, so every reader of the file cuts where we do. A match is the
spaces but the last before a word; a word with the space before it, as in GPT-2; or white space that nothing follows in the
line."""
_UNICODE_SPLIT = pre_tokenizers.Split(Regex(UNICODE_WORDS), behavior="isolated")

# Blocks in which every character is its own NFC form and combines with no neighbour. Text of these alone,
# which is nearly all text, needs no normalising; anything else goes to the normaliser that the tokenizer
# itself applies, so that the two cannot differ in their version of Unicode.
_MAY_CHANGE = re.compile(
    "[^\x00-\u02ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u3000-\u3029\u3041-\u3096\u309d-\u30ff"
    "\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]"
)
_NFC = normalizers.NFC()
_LOWER = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase(), normalizers.NFC()])


def normalise(text: str, *, lower: bool = False) -> str:
    """Unicode normal form C (never KC), in lower case where asked; nothing else about the text is changed."""
    if lower:
        return text.lower() if text.isascii() else _LOWER.normalize_str(text)
    return _NFC.normalize_str(text) if _MAY_CHANGE.search(text) else text


def unicode_pieces(text: str) -> list[str]:
    """The words of a text, what stands between them too: put together they are the text."""
    return [piece for piece, _ in _UNICODE_SPLIT.pre_tokenize_str(text)]


def _byte_symbols() -> list[str]:
    """The printable character by which byte-level BPE writes each byte (GPT-2, `bytes_to_unicode`)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


SYMBOLS = _byte_symbols()
_BYTE_OF = {symbol: byte for byte, symbol in enumerate(SYMBOLS)}


def symbols_of(text: str) -> str:
    """A text as a byte-level vocabulary writes it."""
    return "".join(SYMBOLS[byte] for byte in text.encode())


class Tokenizer:
    """A byte-level tokenizer; `fit_char`, `fit_bpe`, `byte`, `words.fit_word` and `load` make one, without fields and for both
    cases; `with_fields` and `with_lower` one of it.

    With a `segmenter` words are what it cuts. With a `spelling`, a word that the vocabulary lacks is the id `unk_id` and after
    it, for each byte b of its UTF-8, the id vocab_size + b: of these `decode` makes the text again, and no model sees them.
    """

    def __init__(
        self, rust: RustTokenizer, kind: str, segmenter: SpacyWords | None = None, spelling: Spelling | None = None
    ) -> None:
        self.kind = kind  # char, bpe, byte, word or spacy:PIPELINE
        self.segmenter, self.spelling = segmenter, spelling
        self.changes: list[str] = []  # in what cuts words, since the tokenizer was saved
        rust.encode_special_tokens = True  # the text of a special token in data or a prompt is ordinary text
        self._rust = rust
        self.lower = rust.normalizer.normalize_str("A") == "a"
        vocab = rust.get_vocab(with_added_tokens=True)
        self.vocab_size = len(vocab)
        special = OF_WORDS if is_of_words(kind) else (END_OF_TEXT,) * 4
        self.pad_id, unk_id, self.sos_id, self.eot_id = (vocab[token] for token in special)
        self.unk_id = unk_id if spelling else None  # None where no word is unknown
        self.unwritten = sorted({self.pad_id, unk_id, self.sos_id} - {self.eot_id})
        """Tokens that no text that is written may have."""
        self.field_id = vocab.get(END_OF_FIELD)  # None where documents have one field
        self._bytes = [b""] * self.vocab_size
        for token, index in vocab.items():
            if index == self.field_id:
                self._bytes[index] = b"\n"
            elif token not in special:
                self._bytes[index] = bytes(_BYTE_OF[symbol] for symbol in token)
        self._pieces: Callable[[str], list[str]] | None = None  # where this is not left to the library
        if spelling:
            self._known = {word: index for index, word in enumerate(self._bytes) if word and index != self.field_id}
            self._bytes += [bytes([byte]) for byte in range(256)]
            self._pieces = unicode_pieces
        if segmenter:
            self._pieces = segmenter.pieces
        self._ids_of = lru_cache(1 << 16)(self._of_piece)

    def with_fields(self) -> Tokenizer:
        """The same with a token more, which ends a field."""
        rust = RustTokenizer.from_str(self._rust.to_str())
        rust.add_special_tokens([AddedToken(END_OF_FIELD, special=True, normalized=False)])
        return Tokenizer(rust, self.kind, self.segmenter, self.spelling)

    def with_lower(self) -> Tokenizer:
        """The same for text in lower case, which any other is turned into."""
        rust = RustTokenizer.from_str(self._rust.to_str())
        rust.normalizer = _LOWER
        return Tokenizer(rust, self.kind, self.segmenter, self.spelling)

    def normalise(self, text: str) -> str:
        """The text as it is read: `decode` of `encode` of it."""
        return normalise(text, lower=self.lower)

    def encode(self, text: str) -> list[int]:
        """The ids of the normalised text, without special tokens but for unknown words."""
        if self._pieces is not None:
            return [index for piece in self._pieces(self.normalise(text)) for index in self._ids_of(piece)]
        ids: list[int] = self._rust.encode(text).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on all cores where the library does it."""
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
        """What a model sees of ids: unknown words without their spelling."""
        return [index for index in ids if index < self.vocab_size]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes that the ids stand for: the end of a document for none, that of a field for a line break."""
        table = self._bytes
        return b"".join([table[index] for index in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def fingerprint(self) -> str:
        """A hash of all that the tokenizer does."""
        parts: list[str] = [self._rust.to_str()]
        if self.segmenter:
            parts.append(json.dumps(self.segmenter.record()))
        if self.spelling:
            parts.append(json.dumps(self.spelling.to_json()))
        return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and its configuration, for `load` and transformers' `AutoTokenizer`; for words that spaCy cuts
        a words.json instead, and a configuration that `AutoTokenizer` refuses."""
        folder.mkdir(parents=True, exist_ok=True)
        self._rust.save(str(folder / ("words.json" if self.segmenter else "tokenizer.json")))
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
        """Read a folder that `save` wrote. Raises OSError or ValueError when it is missing or damaged, and RequestError where
        spaCy, or the pipeline that it needs, is not installed."""
        try:
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            segmenter = SpacyWords.recorded(config["spacy"]) if "spacy" in config else None
            text = (folder / ("words.json" if segmenter else "tokenizer.json")).read_text(encoding="utf-8")
            spelling = folder / "spelling.json"
            spelled = Spelling.from_json(json.loads(spelling.read_text(encoding="utf-8"))) if spelling.exists() else None
            tokenizer = cls(RustTokenizer.from_str(text), config["kind"], segmenter, spelled)
            tokenizer.changes = segmenter.changes(config["spacy"]) if segmenter else []
            return tokenizer
        except (OSError, RequestError):
            raise
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{folder} holds no tokenizer that aigc wrote: {error}") from error


def is_of_words(kind: str) -> bool:
    """Whether a tokenizer of this kind has words for tokens."""
    return kind == "word" or is_spacy(kind)


def byte() -> Tokenizer:
    """A token a byte."""
    return _from_characters([], "byte")


def fit_char(texts: Iterable[str], *, min_count: int = 2) -> Tokenizer:
    """A token for each character that the texts hold at least `min_count` times; others fall back to bytes.

    It is a byte-level BPE whose merges build each character from its bytes, left to right. A merge joins a
    lead byte with the continuation bytes that follow it, so none crosses into the next character.
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
    """Byte-level BPE as Qwen2 has it, of at most `vocab_size` ≥ 257 tokens; short texts yield fewer."""
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
    """A tokenizer with a model and a pre-tokenizer, and what all of ours have besides."""
    rust.normalizer = _NFC
    rust.decoder = decoders.ByteLevel()
    rust.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    special = OF_WORDS if is_of_words(kind) else (END_OF_TEXT,)
    rust.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return Tokenizer(rust, kind, segmenter, spelling)
