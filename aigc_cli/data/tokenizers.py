"""From text to token ids and back without loss: characters, byte-level BPE, or bytes.

All three are byte-level: every token stands for a fixed sequence of bytes, and each of the 256 bytes has a
token. So there is no unknown token, and `decode(encode(text)) == normalise(text)` for every text. All are
written as a standard `tokenizer.json`, which `transformers.AutoTokenizer` reads to the same ids.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer

# Said outright, for else the library warns on standard error whenever this process starts another one.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

END_OF_TEXT = "<|endoftext|>"
"""The special token that begins and ends every document."""

END_OF_FIELD = "<|field|>"
"""The special token that stands between the fields of a document, where it has several."""

# Qwen2's pre-tokenizer (https://huggingface.co/Qwen/Qwen2-7B/blob/main/tokenizer.json), character for
# character.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Blocks in which every character is its own NFC form and combines with no neighbour. Text of these alone,
# which is nearly all text, needs no normalising; anything else goes to the normaliser that the tokenizer
# itself applies, so that the two cannot differ in their version of Unicode.
_MAY_CHANGE = re.compile(
    "[^\x00-\u02ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u3000-\u3029\u3041-\u3096\u309d-\u30ff"
    "\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]"
)
_NFC = normalizers.NFC()


def normalise(text: str) -> str:
    """Unicode normal form C (never KC); nothing else about the text is changed."""
    return _NFC.normalize_str(text) if _MAY_CHANGE.search(text) else text


def _byte_symbols() -> list[str]:
    """The printable character by which byte-level BPE writes each byte (GPT-2, `bytes_to_unicode`)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


_SYMBOLS = _byte_symbols()
_BYTE_OF = {symbol: byte for byte, symbol in enumerate(_SYMBOLS)}


class Tokenizer:
    """A byte-level tokenizer; `fit_char`, `fit_bpe`, `byte` and `load` make one, without fields, `with_fields` one of it."""

    def __init__(self, rust: RustTokenizer, kind: str) -> None:
        self.kind = kind  # char, bpe or byte
        rust.encode_special_tokens = True  # the text of a special token in data or a prompt is ordinary text
        self._rust = rust
        vocab = rust.get_vocab(with_added_tokens=True)
        self.vocab_size = len(vocab)
        self.eot_id = vocab[END_OF_TEXT]
        self._bytes = [b""] * self.vocab_size
        self.field_id = vocab.get(END_OF_FIELD)  # None where documents have one field
        for token, index in vocab.items():
            if index == self.field_id:
                self._bytes[index] = b"\n"
            elif index != self.eot_id:
                self._bytes[index] = bytes(_BYTE_OF[symbol] for symbol in token)

    def with_fields(self) -> Tokenizer:
        """The same with a token more, which ends a field."""
        rust = RustTokenizer.from_str(self._rust.to_str())
        rust.add_special_tokens([AddedToken(END_OF_FIELD, special=True, normalized=False)])
        return Tokenizer(rust, self.kind)

    def encode(self, text: str) -> list[int]:
        """The ids of the normalised text, without special tokens."""
        ids: list[int] = self._rust.encode(text).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on all cores."""
        return [encoding.ids for encoding in self._rust.encode_batch_fast(texts)]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes that the ids stand for: the end of a document for none, that of a field for a line break."""
        table = self._bytes
        return b"".join([table[index] for index in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def fingerprint(self) -> str:
        """A hash of all that the tokenizer does."""
        return hashlib.blake2b(self._rust.to_str().encode(), digest_size=16).hexdigest()

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and its configuration, for `load` and transformers' `AutoTokenizer`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._rust.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            "add_bos_token": False,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,
            "kind": self.kind,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read a folder that `save` wrote. Raises OSError or ValueError when it is missing or damaged."""
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        try:
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            return cls(RustTokenizer.from_str(text), config["kind"])
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{folder / 'tokenizer.json'} is not a tokenizer that aigc wrote: {error}") from error


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
    vocab = {END_OF_TEXT: 0} | {symbol: 1 + byte for byte, symbol in enumerate(_SYMBOLS)}
    merges: list[tuple[str, str]] = []
    for char in chars:
        symbols = "".join(_SYMBOLS[byte] for byte in char.encode())
        for end in range(1, len(symbols)):
            prefix, joined = symbols[:end], symbols[: end + 1]
            if joined not in vocab:
                vocab[joined] = len(vocab)
                merges.append((prefix, symbols[end]))
    rust = RustTokenizer(models.BPE(vocab=vocab, merges=merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _finish(rust, kind)


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
    return _finish(rust, "bpe")


def _finish(rust: RustTokenizer, kind: str) -> Tokenizer:
    rust.normalizer = _NFC
    rust.decoder = decoders.ByteLevel()
    rust.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    rust.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return Tokenizer(rust, kind)
