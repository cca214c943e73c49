"""Beam search: an approximate search for the likeliest texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from aigc_cli.backends.transformer.decoding.generate import LOOKAHEAD, Job, batches, prefilled
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.decoding.token_rules import BETWEEN, TokenRules


@dataclass(frozen=True)
class BeamOptions:
    """Finished texts y are ranked by log p(y) / |y|^α, where α is the `length_penalty` and |y| the number of tokens, including
    the end (a common simplification of Wu et al. 2016, section 7). Texts cut at the token limit rank after all of these."""

    beams: int
    length_penalty: float = 1.0
    max_tokens: int | None = None


@dataclass(frozen=True)
class Hypothesis:
    """A text: its tokens without the end, their log-probability including the end in nats, and its score for ranking."""

    ids: list[int]
    log_p: float
    score: float
    ended: bool  # by itself, not at the token limit


@torch.inference_mode()
def beam_search(
    model: LanguageModel,
    jobs: Iterable[Job],
    *,
    options: BeamOptions,
    rules: TokenRules,
    batch_size: int,
    device: torch.device,
) -> Iterator[list[Hypothesis]]:
    """For each job, in order, its `draws` best texts (fewer if there are no more), the best first.

    About `batch_size` beams, of several jobs, are extended at once. Only tokens allowed by the `rules` are used. Raises
    `AigcError` if the model's logits are not finite.
    """
    limit = model.longest if options.max_tokens is None else options.max_tokens
    at_once = max(1, batch_size // options.beams)
    waiting = iter(jobs)
    while window := list(islice(waiting, at_once * (LOOKAHEAD if batch_size > 1 else 1))):
        order = sorted(range(len(window)), key=lambda place: len(window[place].prompt_ids))
        found: list[list[Hypothesis]] = [[] for _ in window]
        for part in batches([len(window[place].prompt_ids) for place in order], at_once):
            places = order[part]
            searches = [_Search.of(window[place], options, model.begins_id, rules) for place in places]
            _search(model, searches, options, limit, rules, device)
            for place, search in zip(places, searches, strict=True):
                found[place] = search.best()
        yield from found


@dataclass
class _Search:
    """The live beams and finished texts of one job."""

    prompt: tuple[int, ...]
    draws: int
    beams: int
    alpha: float
    to_come: list[int]  # by beam, the number of fields after the current one
    states: list[int] = field(default_factory=lambda: [BETWEEN])  # by beam, the position within a character
    live: list[tuple[float, list[int]]] = field(default_factory=lambda: [(0.0, [])])  # log p and tokens, likeliest first
    finished: list[Hypothesis] = field(default_factory=list)

    @classmethod
    def of(cls, job: Job, options: BeamOptions, begins_id: int, rules: TokenRules) -> _Search:
        prompt = tuple(job.prompt_ids) or (begins_id,)
        return cls(prompt, job.draws, options.beams, options.length_penalty, [rules.to_come(prompt)])

    def finish(self, ids: list[int], log_p: float, *, ended: bool) -> None:
        self.finished.append(Hypothesis(ids, log_p, log_p / max(1, len(ids) + ended) ** self.alpha, ended))
        self.finished.sort(key=lambda text: (not text.ended, -text.score))
        del self.finished[max(self.beams, self.draws) :]

    def done(self) -> bool:
        """Whether as many texts have finished as there are beams, and the likeliest live beam would rank below all of them if
        it ended now. With α = 0 no beam can then become better, because log p only decreases; with α > 0 this usually holds."""
        if not self.live:
            return True
        if len(self.finished) < self.beams:
            return False
        log_p, ids = self.live[0]
        return bool(self.finished[self.beams - 1].score >= log_p / len(ids) ** self.alpha)

    def best(self) -> list[Hypothesis]:
        return self.finished[: self.draws]


def _search(
    model: LanguageModel,
    searches: list[_Search],
    options: BeamOptions,
    limit: int,
    rules: TokenRules,
    device: torch.device,
) -> None:
    """Extend all searches together, one token per step, until all are done."""
    state = prefilled(model, [search.prompt for search in searches], limit)
    going = list(searches)
    for length in range(limit + 1):
        if length == limit:
            for search in going:
                for log_p, ids in search.live:
                    search.finish(ids, log_p, ended=False)
            return
        scores = state.logits.log_softmax(dim=-1)
        to_come = [left for search in going for left in search.to_come]
        lengths = [rules.since_field(ids) for search in going for _, ids in search.live] if rules.coded else None
        rules.exclude(scores, to_come, [at for search in going for at in search.states], lengths)
        # From each beam, as many continuations as could be the best overall, and one more for the end.
        values, tokens = scores.topk(min(options.beams + 1, scores.shape[1]), dim=1)
        rows, ids = _advance(going, values, tokens, rules)
        going = [search for search in going if search.live]
        if not going:
            return
        state.select(rows)
        state.step(torch.tensor(ids, device=device))


def _advance(searches: list[_Search], values: Tensor, tokens: Tensor, rules: TokenRules) -> tuple[list[int], list[int]]:
    """Extend each search by a token, given the likeliest tokens (rows, k) after each of its beams. A search that is done has no
    live beams left. Returns, for all live beams, the rows they continue and their new tokens."""
    rows, last = [], []
    first = 0
    by_row, tokens_of_row = values.tolist(), tokens.tolist()
    for search in searches:
        candidates = [
            (log_p + by_row[first + place][rank], place, tokens_of_row[first + place][rank])
            for place, (log_p, _) in enumerate(search.live)
            for rank in range(values.shape[1])
            if by_row[first + place][rank] > -math.inf
        ]
        candidates.sort(key=lambda candidate: -candidate[0])
        live, to_come, states = list[tuple[float, list[int]]](), [], []
        pursued = []
        for log_p, place, token in candidates:
            if len(live) == search.beams:
                break
            ids = search.live[place][1]
            if token == rules.eot_id:
                search.finish(ids, log_p, ended=True)
                continue
            live.append((log_p, [*ids, token]))
            to_come.append(search.to_come[place] - (rules.fields is not None and token == rules.fields.id))
            states.append(rules.after(search.states[place], token))
            pursued.append((first + place, token))
        first += len(search.live)
        search.live, search.to_come, search.states = live, to_come, states
        if search.done():
            search.live = []
            continue
        rows += [row for row, _ in pursued]
        last += [token for _, token in pursued]
    return rows, last
