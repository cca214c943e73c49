"""A regular expression that every sample matches: of each next token, only those that can still lead to a match are left.

llguidance turns the expression into an automaton over bytes, state by state as they are reached, and tells of each state which
tokens may follow; where one text alone can follow, it takes the tokens that this text is encoded as. Every byte is a token of
ours, so that some token always may follow.
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

#: States of the automaton, of 1 to 2 kB each, after which a pattern is given up.
MAX_STATES = 50_000
#: A class of characters in an expression.
CLASS = re.compile(r"\\[pP]\{\w+\}|\\[dDwWsS]|\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|\.")
#: The eight bits (256, 8) of every byte, from the least.
BITS = (torch.arange(256)[:, None] >> torch.arange(8) & 1).float()


class RegexConstraint:
    """A regular expression (in the syntax of Rust's `regex`) for the texts of one tokenizer."""

    def __init__(self, pattern: str, tokenizer: Tokenizer) -> None:
        """Raises RequestError for what is no such expression, and for one that nothing matches or that is too complicated."""
        self.pattern = pattern
        self.n_tokens = tokenizer.vocab_size
        self.idle: list[LLMatcher] = []
        # Those of a step just done wait, at work, for the next one: of two threads on two cores one would wait for them.
        self._executor = LLExecutor(num_threads=max(1, torch.get_num_threads() // 2))
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            raise self._refused("a backslash at its end stands for nothing")
        limits = LLParserLimits(max_lexer_states=MAX_STATES, verbose_errors=False)
        self._matcher = LLMatcher(_tokens(tokenizer, pattern), _grammar(pattern), log_level=0, limits=limits)
        if self._matcher.is_error():
            raise self._refused(_reason(self._matcher.get_error()))
        first = self._matcher.deep_copy()
        first.compute_bitmask()
        self.check(first)

    def begin(self) -> Match:
        """A text of which nothing is written. Automata that are done are used again, with the states that they know."""
        return Match(self, self.idle.pop() if self.idle else self._matcher.deep_copy())

    def allowed(self, matches: Sequence[Match | None]) -> Tensor:
        """The tokens (B, V) that may come next, 1 or 0: those that can lead to a match; all of them in a row without one."""
        matchers = [(match.matcher, row) for row, match in enumerate(matches) if match is not None]
        bits = allocate_token_bitmask(len(matches), self.n_tokens)  # all ones
        fill_next_token_bitmask_par(self._executor, matchers, bits)
        for matcher, _ in matchers:
            self.check(matcher)
        # Looked up by bytes, and multiplied by: to select by a mask of bools takes several times as long on a CPU.
        return F.embedding(torch.from_numpy(bits).view(torch.uint8).int(), BITS).flatten(1)[:, : self.n_tokens]

    def check(self, matcher: LLMatcher) -> None:
        """Raises RequestError where the automaton could not go on."""
        if matcher.is_error():
            nothing = "NoExtension" in matcher.get_error()
            raise self._refused("no text matches it" if nothing else "too complicated to follow")

    def _refused(self, reason: str) -> RequestError:
        return RequestError(f"--match {self.pattern!r}: {reason}")


@dataclass
class Match:
    """A text on its way to a match."""

    constraint: RegexConstraint
    matcher: LLMatcher
    n_tokens: int = 0
    total_removed: float = 0.0

    def kept(self, share: float) -> None:
        """Notes the probability of the tokens that may come next."""
        self.n_tokens += 1
        self.total_removed += max(0.0, 1 - share)

    def take(self, token: int) -> bool:
        """Advances by a token; returns whether nothing can follow it."""
        self.matcher.consume_token(token)
        stopped = self.matcher.is_stopped()
        if stopped:  # by an error, maybe
            self.constraint.check(self.matcher)
        return bool(stopped)

    def end(self, *, reached: bool) -> tuple[float, bool]:
        """The probability mass that the constraint removed, on average over tokens, and whether the text, where it was
        `reached`, matches."""
        matches = reached and self.matcher.is_accepting()
        self.matcher.reset()
        self.constraint.idle.append(self.matcher)
        return self.total_removed / max(1, self.n_tokens), matches


class _Vocabulary:
    """A tokenizer as llguidance wants it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        special = {tokenizer.eot_id, tokenizer.field_id, *tokenizer.unwritten} - {None}
        self.special_token_ids = sorted(special)  # type: ignore[type-var]
        self.eos_token_id = self.bos_token_id = tokenizer.eot_id
        pieces = (tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size))
        self.tokens = [b"special" if token in special else piece for token, piece in enumerate(pieces)]
        self._of_byte = {piece[0]: token for token, piece in enumerate(self.tokens) if len(piece) == 1}

    def __call__(self, text: bytes) -> list[int]:
        """Tokens of exactly these bytes, which normalising might change."""
        ids = self._tokenizer.encode(text.decode("utf-8", "replace"))
        return ids if self._tokenizer.decode_bytes(ids) == text else [self._of_byte[byte] for byte in text]


def _tokens(tokenizer: Tokenizer, pattern: str) -> LLTokenizer:
    """The tokens, and for each class of the pattern those of one or two of its characters: where two such may follow, all of
    these may, and needn't be tried one by one."""
    classes = {match for match in CLASS.findall(pattern) if match[0] in "[." or match[1] in "pPdDwWsS"}
    wrapped = TokenizerWrapper(_Vocabulary(tokenizer))
    try:
        return LLTokenizer(wrapped, slices=[f"{found}{{1,2}}" for found in sorted(classes)])
    except ValueError:  # classes inside classes, as Rust's `regex` has them, are not found as they are
        return LLTokenizer(wrapped)


def _grammar(pattern: str) -> str:
    """The expression as llguidance's grammar; \\d is a digit from 0 to 9, and of no other script."""
    return str(LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(pattern, 'd')}/"))


def _reason(error: str) -> str:
    """What is wrong with an expression, out of llguidance's report over several lines."""
    said = re.search(r"^error: (.*)", error, re.M)
    if said:
        return said[1]
    if "lookarounds not supported" in error:
        return "word boundaries and other looks around are not supported"
    return error.splitlines()[0].rpartition("(in regex): ")[2]
