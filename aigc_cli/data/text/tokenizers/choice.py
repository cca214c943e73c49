"""`--tokenizer auto`: choose a tokenizer for a text.

For text that is mostly Han or Kana, characters, because each is almost a word. For other scripts, a long text gets a BPE as
large as the model can afford; for a short one, characters and a small BPE are compared with an n-gram model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, fit_bpe, fit_char

SMALL_BYTES = 2_000_000
"""With less training text, the choice is made by an estimate."""

_MIN_VOCAB = 512
_PREFERENCE = 0.1
_ESTIMATE_CHARS = 1_000_000
_MAX_ORDER = 8


def choose_tokenizer(
    sample: Sequence[str], n_bytes: int, vocab_limit: int, chars_affordable: float | None = None
) -> tuple[Tokenizer, str]:
    """A tokenizer fitted on `sample`, evenly spread pieces of the `n_bytes` of training text, and the reason for its choice.

    The model can afford a BPE of `vocab_limit` tokens; the largest power of two within it is used, at least 512.
    `chars_affordable` is the number of characters there is time to train on. If that is less than half the text, BPE is
    preferred, because the model sees more text in that time; otherwise characters, because the model memorises more slowly.
    The preference is outweighed by an estimate that is 10 % better.
    """
    share = cjk_share(sample)
    if share > 0.5:
        return fit_char(sample), f"{share:.0%} of letters are Han or Kana"
    vocab_size = affordable_vocab(vocab_limit)
    if n_bytes >= SMALL_BYTES:
        reason = f"{n_bytes / 1e6:,.1f} MB of text, and a model that can afford {vocab_size:,} tokens"
        return fit_bpe(sample, vocab_size), reason
    char, bpe = fit_char(sample), fit_bpe(sample, min(1024, vocab_size))
    of_char, of_bpe = (estimate_bits_per_char(tokenizer, sample) for tokenizer in (char, bpe))
    if not math.isfinite(of_char + of_bpe):
        return char, "the text is too short to compare tokenizers"
    handicap, why = 1.0, ""
    if chars_affordable is not None:
        seldom = chars_affordable < n_bytes / 2
        handicap = 1 - _PREFERENCE if seldom else 1 + _PREFERENCE
        why = (
            "; with bpe the model sees more of the text in time"
            if seldom
            else "; char is preferred if there is time for all of it"
        )
    chosen = bpe if of_bpe * handicap < of_char else char
    reason = f"an n-gram estimate gives {max(0.0, of_char):.2f} bits per character with char, {max(0.0, of_bpe):.2f} with bpe"
    return chosen, reason + (why if (handicap < 1) == (chosen is bpe) else "")


def affordable_vocab(vocab_limit: int) -> int:
    """The largest power of two up to `vocab_limit`, but at least 512."""
    return max(_MIN_VOCAB, 1 << (max(vocab_limit, 1).bit_length() - 1))


def cjk_share(texts: Sequence[str]) -> float:
    """The share of Han and Kana among all letters; 0 without letters."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    letters = sum(count for char, count in counts.items() if char.isalpha())
    cjk = sum(count for char, count in counts.items() if _is_cjk(ord(char)))
    return cjk / letters if letters else 0.0


def _is_cjk(code: int) -> bool:
    """Whether a code point is in the Han or Kana blocks."""
    return (
        0x3041 <= code <= 0x3096  # Hiragana
        or 0x30A1 <= code <= 0x30FA  # Katakana
        or 0x3400 <= code <= 0x4DBF  # Han, extension A
        or 0x4E00 <= code <= 0x9FFF  # Han
        or 0xF900 <= code <= 0xFAFF  # Han, compatibility
        or 0x20000 <= code <= 0x3FFFF  # Han, further extensions
    )


def estimate_bits_per_char(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Bits per character of an n-gram model of the tokens with the best order, on the last tenth of the texts.

    Orders are interpolated as in Witten and Bell (1991). This is a rough guide to how well a model will do with the tokens; it
    uses at most a million characters.
    """
    joined = "\n".join(texts)[:_ESTIMATE_CHARS]
    cut = int(len(joined) * 0.9)
    known, fresh = tokenizer.encode_batch([joined[:cut], joined[cut:]])
    if not known or not fresh:
        return float("inf")
    nats = _best_order_nats(np.array(known), np.array(fresh), tokenizer.vocab_size)
    return nats / math.log(2) / (len(joined) - cut)


def _best_order_nats(known: npt.NDArray[np.int64], fresh: npt.NDArray[np.int64], vocab_size: int) -> float:
    """The lowest total -log p of `fresh` over orders 1 … 8, with counts from `known`.

    Order k: p_k(w|h) = (c(h w) + t(h) p_{k-1}(w|h')) / (c(h) + t(h)), where t(h) is the number of different tokens seen after
    the k-1 tokens h, and h' is h without its first token. Order 0 is uniform.
    """
    tokens = np.concatenate([known, fresh]).astype(np.uint64)
    n = len(known)
    probability = np.full(len(fresh), 1 / vocab_size)
    context = np.zeros(len(tokens), np.uint64)  # a hash of the k-1 tokens before each token
    best = np.inf
    for order in range(1, _MAX_ORDER + 1):
        gram = _mix(context, tokens)
        grams, first, of_gram = np.unique(gram[:n], return_index=True, return_counts=True)
        contexts, of_context = np.unique(context[:n], return_counts=True)
        types = np.bincount(np.searchsorted(contexts, context[:n][first]), minlength=len(contexts))
        c_gram = _look_up(grams, of_gram, gram[n:])
        c_context = _look_up(contexts, of_context, context[n:])
        t = _look_up(contexts, types, context[n:])
        seen = c_context > 0
        probability[seen] = (c_gram[seen] + t[seen] * probability[seen]) / (c_context[seen] + t[seen])
        total = float(-np.log(probability).sum())
        if total >= best:
            break
        best = total
        earlier = np.concatenate([np.zeros(order, np.uint64), tokens[:-order]])
        context = _mix(context, earlier)
    return best


def _mix(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of two numbers, with the multiplier of splitmix64. Products wrap around intentionally."""
    mixed = (a + b + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed = (mixed + b) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32))


def _look_up(
    keys: npt.NDArray[np.uint64], values: npt.NDArray[np.int64], wanted: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """The value of each wanted key in the sorted `keys`; 0 for missing ones."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
