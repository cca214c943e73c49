"""Text cut into words as Unicode has them (UAX #29), nothing of it lost.

Oniguruma, whose regular expressions `tokenizer.json` is written in, knows the rules: with `(?y{w})`, `\\X` is the text up to
the next word boundary. So every reader of the file cuts where we do. As in GPT-2, a space before a word belongs to it.
"""

from __future__ import annotations

from tokenizers import Regex, pre_tokenizers

UNICODE_WORDS = r"(?y{w}) +(?= \S)| ?(?=\S)\X|\X"
"""Spaces but the last before a word; a word with the space before it; or white space that nothing follows in the line."""

_SPLIT = pre_tokenizers.Split(Regex(UNICODE_WORDS), behavior="isolated")


def unicode_pieces(text: str) -> list[str]:
    """The words of a text, what stands between them too: put together they are the text."""
    return [piece for piece, _ in _SPLIT.pre_tokenize_str(text)]
