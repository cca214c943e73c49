"""The names of the tokens that are no text."""

from __future__ import annotations

END_OF_TEXT = "<|endoftext|>"
"""Begins and ends every document of characters, of BPE and of bytes."""

END_OF_FIELD = "<|field|>"
"""Stands between the fields of a document, where it has several."""

PAD, UNK, SOS, EOS = OF_WORDS = ("<pad>", "<unk>", "<sos>", "<eos>")
"""Of words: padding, an unknown word, the beginning of a document and its end."""

SPECIAL = frozenset({END_OF_TEXT, END_OF_FIELD, *OF_WORDS})
"""All of them."""
