"""Fit the tokenizer of a request on training text."""

from __future__ import annotations

from collections.abc import Iterable

from aigc_cli.data.cache import Progress
from aigc_cli.data.text.request import TextRequest
from aigc_cli.data.text.tokenizers.choice import affordable_vocab, choose_tokenizer
from aigc_cli.data.text.tokenizers.spacy_words import SpacyWords, is_spacy
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, byte, fit_bpe, fit_char, is_of_words
from aigc_cli.data.text.tokenizers.words import MIN_FREQ, fit_word


def fit_tokenizer(request: TextRequest, texts: Iterable[str], n_bytes: int, progress: Progress) -> tuple[Tokenizer, str]:
    """The tokenizer that the request asks for, fitted on `texts`, evenly spread pieces of the `n_bytes` of training text, and
    the reason for its choice."""
    if request.tokenizer == "byte":
        return byte(), "as given"
    sample = list(texts)
    n_sampled = sum(map(len, sample))
    progress("fitting the tokenizer", 0, n_sampled)
    if request.reading.transcriber is not None:
        fitted, reason = fit_char(sample, min_count=1), "an event each"
    elif request.tokenizer == "char":
        fitted, reason = fit_char(sample), "as given"
    elif is_of_words(request.tokenizer):
        segmenter = SpacyWords.named(request.tokenizer) if is_spacy(request.tokenizer) else None
        min_freq = MIN_FREQ if request.min_freq is None else request.min_freq
        fitted = fit_word(sample, min_freq, vocab_size=request.vocab_size, unk=request.unk, segmenter=segmenter)
        reason = f"words seen at least {min_freq:,} times" if min_freq > 1 else "all words"
        if request.vocab_size:
            reason += f", the most frequent of them up to {request.vocab_size:,} tokens"
    elif request.tokenizer == "bpe" or request.vocab_size:
        fitted = fit_bpe(sample, request.vocab_size or affordable_vocab(request.vocab_limit))
        reason = "as given" if request.tokenizer == "bpe" else "for --vocab-size"
        if request.vocab_size and fitted.vocab_size < request.vocab_size:
            reason += f", but the text yields only {fitted.vocab_size:,}"
    else:
        fitted, reason = choose_tokenizer(sample, n_bytes, request.vocab_limit, request.chars_affordable)
    progress("fitting the tokenizer", n_sampled, n_sampled)
    return fitted, reason
