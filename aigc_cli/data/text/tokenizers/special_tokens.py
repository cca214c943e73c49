"""The names of special tokens."""

from __future__ import annotations

END_OF_TEXT = "<|endoftext|>"
"""Starts and ends documents of characters, BPE tokens and bytes."""

END_OF_FIELD = "<|field|>"
"""Separates the fields of a document."""

CODE = "<|code-{}|>"
"""A discrete code of something that is not text, such as a part of a picture."""

PAD, UNK, SOS, EOS = OF_WORDS = ("<pad>", "<unk>", "<sos>", "<eos>")
"""For vocabularies of words: padding, an unknown word, the start and the end of a document."""

SPECIAL = frozenset({END_OF_TEXT, END_OF_FIELD, *OF_WORDS})
"""All special tokens."""
