"""Vocabularies of words.

A word that occurs often enough in the training text is a token. Other words are spelled with characters, and rare characters
with bytes, so that nothing is lost. This is a byte-level BPE whose merges only build characters, and which looks a word up
before merging (`ignore_merges`). With `unk`, other words become `<unk>` instead, and their spelling costs extra (`spelling`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from aigc_cli.data.text.tokenizers.spacy_words import PREFIX, SpacyWords
from aigc_cli.data.text.tokenizers.special_tokens import OF_WORDS, UNK
from aigc_cli.data.text.tokenizers.spelling import Spelling
from aigc_cli.data.text.tokenizers.tokenizer import (
    SYMBOLS,
    UNICODE_WORDS,
    Tokenizer,
    finished,
    merges_of,
    normalise,
    symbols_of,
    unicode_pieces,
)

MIN_FREQ = 5
"""The default number of occurrences a word needs to become a token."""

LEAST = {True: len(OF_WORDS) + 1, False: len(OF_WORDS) + 256 + 1}
"""The smallest vocabulary with and without `<unk>`: the special tokens, without `<unk>` also the bytes, and one word."""

_MIN_CHARACTERS = 2


def fit_word(
    texts: Iterable[str],
    min_freq: int = MIN_FREQ,
    *,
    vocab_size: int | None = None,
    unk: bool = False,
    segmenter: SpacyWords | None = None,
) -> Tokenizer:
    """A token for each word, as split by Unicode's rules or by `segmenter`, that occurs at least `min_freq` times.

    Other words are spelled with tokens for characters that occur in them at least twice, and with bytes; with `unk` they are
    unknown. The most frequent tokens are kept, up to `vocab_size` in total. A space before a word belongs to the word, so `the`
    and ` the` are two words.
    """
    pieces = segmenter.pieces if segmenter else unicode_pieces
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(pieces(normalise(text)))
    room = None if vocab_size is None else vocab_size - LEAST[unk] + 1
    often = [(word, count) for word, count in counts.items() if count >= min_freq]
    often.sort(key=lambda pair: (-pair[1], pair[0]))
    kept = dict(often[:room])
    others = {word: count for word, count in counts.items() if word not in kept}
    split = [] if segmenter else [pre_tokenizers.Split(Regex(UNICODE_WORDS), behavior="isolated")]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    rust = RustTokenizer(_known_or_not(kept) if unk else _known_or_spelled(kept, others, room))
    rust.pre_tokenizer = pre_tokenizers.Sequence([*split, byte_level])
    kind = PREFIX + segmenter.pipeline if segmenter else "word"
    return finished(rust, kind, segmenter, Spelling.fit(others) if unk else None)


def _known_or_not(kept: Mapping[str, int]) -> models.WordLevel:
    vocab = [*OF_WORDS, *map(symbols_of, kept)]
    return models.WordLevel({token: index for index, token in enumerate(vocab)}, unk_token=UNK)


def _known_or_spelled(kept: Mapping[str, int], others: Mapping[str, int], room: int | None) -> models.BPE:
    """A vocabulary of the kept words and the characters of the others, the most frequent ones if there isn't room for all."""
    characters: Counter[str] = Counter()
    for word, count in others.items():
        for char in word:
            characters[char] += count
    # One-byte characters already have a token.
    spelled = [(char, n) for char, n in characters.items() if n >= _MIN_CHARACTERS and len(char.encode()) > 1]
    ranked = sorted([(-count, word, True) for word, count in kept.items()] + [(-n, char, False) for char, n in spelled])
    vocab = {token: index for index, token in enumerate((*OF_WORDS, *SYMBOLS))}
    end = None if room is None else len(vocab) + room
    merges: dict[tuple[str, str], None] = {}
    for _, text, whole in ranked:
        steps = [] if whole else merges_of(text)
        new = dict.fromkeys([symbols_of(text)] if whole else [prefix + last for prefix, last in steps])
        missing = [token for token in new if token not in vocab]
        if end is not None and len(vocab) + len(missing) > end:
            continue
        vocab |= {token: len(vocab) + place for place, token in enumerate(missing)}
        merges |= dict.fromkeys(steps)
    return models.BPE(vocab=vocab, merges=list(merges), ignore_merges=True)
