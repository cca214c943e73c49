"""Constrained decoding with a regular expression: only tokens that can still lead to a match are allowed.

llguidance compiles the expression lazily into an automaton over bytes, and says which tokens are allowed in each state; if only
one text can follow, it allows the tokens that this text is encoded as. Every byte is a token of ours, so some token is always
allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper, regex_to_lark
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from torch import Tensor

from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.errors import RequestError

#: The most states of the automaton, 1 to 2 kB each, before a pattern is rejected.
MAX_STATES = 50_000
#: A character class in an expression.
CLASS = re.compile(r"\\[pP]\{\w+\}|\\[dDwWsS]|\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|\.")
#: The eight bits (256, 8) of every byte, least significant first.
BITS = (torch.arange(256)[:, None] >> torch.arange(8) & 1).float()


class RegexConstraint:
    """A regular expression (in the syntax of Rust's `regex`) for texts of one tokenizer."""

    def __init__(self, pattern: str, tokenizer: Tokenizer) -> None:
        """Raises `RequestError` for an expression that is invalid, too complex, or matches nothing."""
        self.pattern = pattern
        self.n_tokens = tokenizer.vocab_size
        self.idle: list[LLMatcher] = []
        # PyTorch's threads keep spinning for a while after a step; with a thread per core, this executor would wait for them.
        self._executor = LLExecutor(num_threads=max(1, torch.get_num_threads() // 2))
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            raise self._refused("nothing follows the backslash at its end")
        limits = LLParserLimits(max_lexer_states=MAX_STATES, verbose_errors=False)
        self._matcher = LLMatcher(_tokens(tokenizer, pattern), _grammar(pattern), log_level=0, limits=limits)
        if self._matcher.is_error():
            raise self._refused(_reason(self._matcher.get_error()))
        first = self._matcher.deep_copy()
        first.compute_bitmask()
        self.check(first)

    def begin(self) -> Match:
        """The match of a new text. Automata are reused, with the states they have already computed."""
        return Match(self, self.idle.pop() if self.idle else self._matcher.deep_copy())

    def allowed(self, matches: Sequence[Match | None]) -> Tensor:
        """The allowed next tokens (B, V), 1 or 0: those that can lead to a match, or all for a row without a match."""
        matchers = [(match.matcher, row) for row, match in enumerate(matches) if match is not None]
        bits = allocate_token_bitmask(len(matches), self.n_tokens)  # all ones
        fill_next_token_bitmask_par(self._executor, matchers, bits)
        for matcher, _ in matchers:
            self.check(matcher)
        # A lookup by bytes, to be multiplied with: selecting with a mask of bools is several times slower on a CPU.
        return F.embedding(torch.from_numpy(bits).view(torch.uint8).int(), BITS).flatten(1)[:, : self.n_tokens]

    def check(self, matcher: LLMatcher) -> None:
        """Raise `RequestError` if the automaton has failed."""
        if matcher.is_error():
            nothing = "NoExtension" in matcher.get_error()
            raise self._refused("no text matches it" if nothing else "it is too complex")

    def _refused(self, reason: str) -> RequestError:
        return RequestError(f"--match {self.pattern!r}: {reason}")


@dataclass
class Match:
    """A text that is being generated to match."""

    constraint: RegexConstraint
    matcher: LLMatcher
    n_tokens: int = 0
    total_removed: float = 0.0

    def kept(self, share: float) -> None:
        """Record the total probability of the allowed next tokens."""
        self.n_tokens += 1
        self.total_removed += max(0.0, 1 - share)

    def take(self, token: int) -> bool:
        """Advance by a token. Returns whether nothing can follow it."""
        self.matcher.consume_token(token)
        stopped = self.matcher.is_stopped()
        if stopped:  # possibly by an error
            self.constraint.check(self.matcher)
        return bool(stopped)

    def end(self, *, reached: bool) -> tuple[float, bool]:
        """The mean probability mass that the constraint removed, and whether the text was `reached` and matches."""
        matches = reached and self.matcher.is_accepting()
        self.matcher.reset()
        self.constraint.idle.append(self.matcher)
        return self.total_removed / max(1, self.n_tokens), matches


class _Vocabulary:
    """A tokenizer for llguidance."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        special = {tokenizer.eot_id, tokenizer.field_id, *tokenizer.unwritten} - {None}
        self.special_token_ids = sorted(special)  # type: ignore[type-var]
        self.eos_token_id = self.bos_token_id = tokenizer.eot_id
        pieces = (tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size))
        self.tokens = [b"special" if token in special else piece for token, piece in enumerate(pieces)]
        self._of_byte = {piece[0]: token for token, piece in enumerate(self.tokens) if len(piece) == 1}

    def __call__(self, text: bytes) -> list[int]:
        """Tokens with exactly these bytes, even if normalisation would change them."""
        ids = self._tokenizer.encode(text.decode("utf-8", "replace"))
        return ids if self._tokenizer.decode_bytes(ids) == text else [self._of_byte[byte] for byte in text]


def _tokens(tokenizer: Tokenizer, pattern: str) -> LLTokenizer:
    """The tokenizer for llguidance. For each character class of the pattern, tokens of one or two of its characters form a
    slice: in states that allow any two such characters, the whole slice is allowed without trying its tokens one by one."""
    classes = {match for match in CLASS.findall(pattern) if match[0] in "[." or match[1] in "pPdDwWsS"}
    wrapped = TokenizerWrapper(_Vocabulary(tokenizer))
    try:
        return LLTokenizer(wrapped, slices=[f"{found}{{1,2}}" for found in sorted(classes)])
    except ValueError:  # nested classes, which Rust's `regex` allows, are not found correctly
        return LLTokenizer(wrapped)


def _grammar(pattern: str) -> str:
    """The expression as a grammar for llguidance, in which \\d is only 0 to 9."""
    return str(LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(pattern, 'd')}/"))


def _reason(error: str) -> str:
    """The reason from llguidance's multi-line error message."""
    reason = re.search(r"^error: (.*)", error, re.M)
    if reason:
        return reason[1]
    if "lookarounds not supported" in error:
        return "word boundaries and other look-arounds are not supported"
    return error.splitlines()[0].rpartition("(in regex): ")[2]
