"""Sampling against its definition: a loop that reads the whole window for every token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import random_transformer, small_config
from torch import Tensor

from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM, CausalState, window_length
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoding.generate import Generated, Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.sampling import (
    inverse_cdf,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    next_allowed_tokens,
    next_tokens,
    penalise_repetition,
    rising,
)
from aigc_cli.backends.transformer.decoding.token_rules import TokenRules
from aigc_cli.errors import AigcError

pytestmark = pytest.mark.usefixtures("one_thread")

EOT = 26
CONFIG = small_config(vocab_size=27, context=12, eot_id=EOT)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_transformer(CONFIG, spread=0.3)


def letters(ids: list[int]) -> bytes:
    return bytes(b"a"[0] + i for i in ids)


def sample(
    model: Transformer,
    jobs: list[Job],
    options: SamplingOptions,
    *,
    seed: int = 0,
    batch_size: int = 4,
    eot_id: int = EOT,
) -> list[Generated]:
    return list(
        generate(
            CausalLM(model),
            jobs,
            options=options,
            rules=TokenRules(eot_id),
            seed=seed,
            decode_bytes=letters,
            batch_size=batch_size,
            device=torch.device("cpu"),
        )
    )


@torch.no_grad()
def uncached_logits(model: Transformer, tokens: list[int]) -> Tensor:
    window = tokens[-window_length(len(tokens), model.config.context) :]
    return model.logits(model(torch.tensor([window])))[0, -1]


def reference_sample(model: Transformer, prompt: list[int], options: SamplingOptions, seed: int, index: int) -> list[int]:
    """The definition: one sample, no cache, no batch, the uniforms drawn one by one."""
    random = np.random.Generator(np.random.Philox(key=(seed, index)))
    tokens, limit = list(prompt), options.max_tokens or 4 * model.config.context
    while len(tokens) < len(prompt) + limit:
        logits = uncached_logits(model, tokens)[None]
        seen = torch.zeros_like(logits, dtype=torch.bool)
        seen[0, tokens] = True
        uniform = torch.tensor([random.random(dtype=np.float32)])
        token = int(next_tokens(logits, options, seen, uniform if options.temperature else None))
        if token == EOT:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


def test_the_window_keeps_its_last_half_when_it_is_full() -> None:
    tokens: list[int] = []
    for n in range(1, 100):
        tokens.append(n)
        if len(tokens) > 12:
            tokens = tokens[-6:]
        assert window_length(n, 12) == len(tokens)
    assert [window_length(n, 1) for n in range(1, 5)] == [1, 1, 1, 1]


@pytest.mark.parametrize("lengths", [[3], [5, 5, 5], [1, 4, 12, 7], [30, 2, 13, 12]])
def test_cached_logits_are_the_uncached_ones(model: Transformer, lengths: list[int]) -> None:
    """Over several windows, and with rows dropped and repeated in between."""
    torch.manual_seed(1)
    rows = [torch.randint(0, 26, (length,)).tolist() for length in lengths]
    with torch.no_grad():
        state = CausalState(model, rows, room=60)
        for step in range(40):
            if step in (10, 20):
                chosen = [len(rows) - 1, 0, 0]
                rows = [list(rows[i]) for i in chosen]
                state.select(chosen)
            expected = torch.stack([uncached_logits(model, row) for row in rows])
            torch.testing.assert_close(state.logits, expected, atol=1e-4, rtol=0)
            ids = torch.randint(0, 26, (len(rows),))
            for row, token in zip(rows, ids.tolist(), strict=True):
                row.append(token)
            state.step(ids)


@pytest.mark.parametrize("context", [1, 2, 3, 7])
def test_small_contexts_are_sampled_as_defined(model: Transformer, context: int) -> None:
    small = Transformer(replace(CONFIG, context=context)).eval()
    small.load_state_dict(model.state_dict())
    prompts = [[1], [2, 3, 4, 5, 6], [7, 8], []]
    options = SamplingOptions(max_tokens=25)
    for one in sample(small, [Job(i, prompt) for i, prompt in enumerate(prompts)], options):
        assert one.ids == reference_sample(small, prompts[one.index] or [EOT], options, 0, one.index)


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(),
        SamplingOptions(temperature=0, max_tokens=20),
        SamplingOptions(repetition_penalty=1.5, temperature=0.8, top_k=9, top_p=0.9, min_p=0.02, max_tokens=30),
    ],
)
def test_samples_are_those_of_the_definition(model: Transformer, options: SamplingOptions) -> None:
    prompts = [[1, 2, 3], [4], list(range(20)), [5, 6, 7, 8]]
    jobs = [Job(10 * i, prompt, draws=3) for i, prompt in enumerate(prompts)]
    made = sample(model, jobs, options, seed=7, batch_size=5)
    assert [one.index for one in made] == [10 * i + draw for i in range(4) for draw in range(3)]
    for one in made:
        prompt = prompts[one.index // 10]
        assert one.ids == reference_sample(model, prompt, options, 7, one.index)
        assert one.content == letters(one.ids)
        assert one.finish == ("length" if len(one.ids) == (options.max_tokens or 48) else "end")


def test_a_sample_does_not_depend_on_its_batch(model: Transformer) -> None:
    jobs = [Job(i, [i % 26] * (1 + i % 7)) for i in range(20)]
    alone = [sample(model, [job], SamplingOptions(), batch_size=1)[0] for job in jobs]
    assert sample(model, jobs, SamplingOptions(), batch_size=16) == alone
    assert sample(model, jobs, SamplingOptions(), batch_size=3) == alone


def test_the_seed_decides(model: Transformer) -> None:
    jobs = [Job(0, [1], draws=8)]
    first = sample(model, jobs, SamplingOptions(), seed=2**64 - 1)
    assert first == sample(model, jobs, SamplingOptions(), seed=2**64 - 1)
    assert first != sample(model, jobs, SamplingOptions(), seed=1)
    assert len({tuple(one.ids) for one in first}) > 4


def test_an_empty_prompt_starts_a_document(model: Transformer) -> None:
    empty, explicit = (
        sample(model, [Job(0, [])], SamplingOptions()),
        sample(model, [Job(0, [EOT])], SamplingOptions()),
    )
    assert empty == explicit


def test_drawn_tokens_have_the_model_s_probabilities(model: Transformer) -> None:
    made = sample(model, [Job(0, [3], draws=4000)], SamplingOptions(max_tokens=1), batch_size=1000)
    counts = np.zeros(CONFIG.vocab_size)
    for one in made:
        counts[one.ids[0] if one.ids else EOT] += 1
    expected = uncached_logits(model, [3]).softmax(dim=0).double().numpy() * 4000
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    # 26 degrees of freedom: mean 26, standard deviation 7.2.
    assert chi_square < 60


def test_jobs_are_read_as_they_are_needed(model: Transformer) -> None:
    read = 0

    def endless() -> Iterator[Job]:
        nonlocal read
        while True:
            yield Job(read, [read % 26])
            read += 1

    options = SamplingOptions(max_tokens=2)
    for batch_size, most in [(1, 3), (4, 40)]:
        read = 0
        samples = generate(
            CausalLM(model),
            endless(),
            options=options,
            rules=TokenRules(EOT),
            seed=0,
            decode_bytes=letters,
            batch_size=batch_size,
            device=torch.device("cpu"),
        )
        assert [next(samples).index for _ in range(3)] == [0, 1, 2]
        assert read <= most


def test_nothing_is_drawn_for_a_limit_of_none(model: Transformer) -> None:
    assert sample(model, [Job(0, [1])], SamplingOptions(max_tokens=0)) == [Generated(0, [], b"", "length", [b""])]
    assert sample(model, [], SamplingOptions()) == []


def forced(text: bytes, *stops: str, pieces: dict[int, bytes]) -> tuple[Generated, list[bytes]]:
    """What becomes of a sample whose tokens spell out `text`: a model that always says the next token."""
    told: list[bytes] = []
    tokens = []
    rest = text
    while rest:
        token, piece = max(((t, p) for t, p in pieces.items() if rest.startswith(p)), key=lambda item: len(item[1]))
        tokens.append(token)
        rest = rest[len(piece) :]
    successor = Transformer(replace(CONFIG, d_model=64, context=64, tied=False, n_layers=1)).eval()
    with torch.no_grad():
        successor.model.embed_tokens.weight.zero_()
        successor.lm_head.weight.zero_()
        for here, there in zip([EOT, *tokens], [*tokens, EOT], strict=True):
            successor.model.embed_tokens.weight[here, here] = 1
            successor.lm_head.weight[there, here] = 1
    made = generate(
        CausalLM(successor),
        [Job(5, [])],
        options=SamplingOptions(temperature=0, stop=stops),
        rules=TokenRules(EOT),
        seed=0,
        decode_bytes=lambda ids: b"".join(pieces[i] for i in ids),
        batch_size=1,
        device=torch.device("cpu"),
        on_bytes=lambda index, piece: told.append(piece) if index == 5 else None,
    )
    return next(made), told


def test_a_stop_string_cuts_the_text_wherever_its_tokens_end() -> None:
    pieces = {0: b"one ", 1: b"tw", 2: b"o thr", 3: b"ee fo", 4: b"ur"}
    text = b"one two three four"
    whole, told = forced(text, pieces=pieces)
    assert (whole.content, whole.ids, whole.finish) == (text, [0, 1, 2, 3, 4], "end")
    assert told == [b"one ", b"tw", b"o thr", b"ee fo", b"ur"]
    for stops, content, ids in [
        (["two"], b"one ", [0]),
        (["wo t"], b"one t", [0, 1]),
        (["e"], b"on", [0]),
        (["o"], b"", []),
        (["four", "hre"], b"one two t", [0, 1, 2]),
        (["ee four"], b"one two thr", [0, 1, 2]),
    ]:
        made, told = forced(text, *stops, pieces=pieces)
        assert (made.content, made.ids, made.finish) == (content, ids, "stop")
        assert b"".join(told) == content
    # A beginning of a stop string is held back only until it turns out not to be one.
    made, told = forced(text, "two!", "four?", pieces=pieces)
    assert (made.content, made.finish, b"".join(told)) == (text, "end", text)
    assert told[0] == b"one " and b"tw" not in told


def test_a_stop_string_of_several_bytes_a_character() -> None:
    poem = "天。月".encode()
    pieces = {i: poem[i : i + 1] for i in range(9)}
    made, told = forced(poem, "。", pieces=pieces)
    assert made.content == b"".join(told) == "天".encode()
    assert made.finish == "stop"


def test_damaged_weights_are_reported() -> None:
    broken = Transformer(CONFIG).eval()
    with torch.no_grad():
        broken.model.norm.weight[0] = math.nan
    with pytest.raises(AigcError, match="not finite"):
        sample(broken, [Job(0, [1])], SamplingOptions())


# The rules, on probabilities that can be reckoned by hand.

LOGITS = torch.tensor([[0.5, 0.25, 0.125, 0.0625, 0.0625]]).log()


def kept(logits: Tensor) -> list[int]:
    return logits[0].isfinite().nonzero()[:, 0].tolist()


def test_top_k() -> None:
    assert kept(keep_top_k(LOGITS, 2)) == [0, 1]
    assert kept(keep_top_k(LOGITS, 4)) == [0, 1, 2, 3, 4]  # the fourth and the fifth tie
    assert kept(keep_top_k(LOGITS, 99)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("p", "expected"), [(1e-9, [0]), (0.5, [0]), (0.51, [0, 1]), (0.875, [0, 1, 2])])
def test_top_p_is_the_fewest_tokens_that_reach_p(p: float, expected: list[int]) -> None:
    assert kept(keep_top_p(LOGITS, p)) == expected
    mixed = LOGITS[:, [3, 1, 4, 0, 2]]
    assert sorted([3, 1, 4, 0, 2][i] for i in kept(keep_top_p(mixed, p))) == expected


def test_top_p_of_one_leaves_everything() -> None:
    assert kept(keep_top_p(LOGITS, 1.0)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("p", "expected"), [(0.0, [0, 1, 2, 3, 4]), (0.24, [0, 1, 2]), (0.51, [0]), (1.0, [0])])
def test_min_p_is_a_share_of_the_likeliest(p: float, expected: list[int]) -> None:
    assert kept(keep_min_p(LOGITS, p)) == expected


def test_repetition_penalty_makes_seen_tokens_less_likely() -> None:
    logits, seen = torch.tensor([[2.0, -2.0, 2.0, -2.0]]), torch.tensor([[True, True, False, False]])
    assert penalise_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_temperature_sharpens_before_the_cuts() -> None:
    """At temperature 1/2 the probabilities are squared: 64, 16, 4, 1, 1 of 86."""
    options = SamplingOptions(temperature=0.5, top_p=64 / 86 - 1e-3)
    assert next_tokens(LOGITS, options, None, torch.tensor([0.999])).tolist() == [0]
    options = SamplingOptions(temperature=0.5, top_p=64 / 86 + 1e-3)
    assert next_tokens(LOGITS, options, None, torch.tensor([0.999])).tolist() == [1]


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(temperature=0), SamplingOptions(top_k=2, min_p=0.1)])
def test_what_is_not_allowed_is_as_if_it_were_not_there(options: SamplingOptions) -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0, 2.5], [0.0, -200.0, 1.0, -201.0, 0.0]])  # the second allows next to nothing
    allowed = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0, 0.0]])
    for rows in ([0], [0, 1]):
        for u in torch.linspace(0, 1 - 2**-24, 40):
            uniforms = u.repeat(len(rows)) if options.temperature else None
            ids, kept = next_allowed_tokens(logits[rows], allowed[rows], options, None, uniforms)
            few = next_tokens(logits[rows][:, [1, 3]], options, None, uniforms)
            assert ids.tolist() == [1 + 2 * id for id in few.tolist()]
            assert kept == pytest.approx(
                [(math.e**3 + math.e**2) / (1 + math.e + math.e**2 + math.e**2.5 + math.e**3), 0][: len(rows)], abs=1e-4
            )


def test_inverse_cdf_at_its_steps() -> None:
    uniforms = torch.tensor([0.0, 0.499, 0.5, 0.74, 0.75, 0.9374, 0.9376, 1 - 2**-24])
    drawn = inverse_cdf(LOGITS.expand(8, 5).softmax(-1), uniforms)
    assert drawn.tolist() == [0, 0, 1, 1, 2, 3, 4, 4]
    # A token that was cut is never drawn, at either end.
    logits = LOGITS.expand(8, 5).clone()
    logits[:, [0, 4]] = -math.inf
    assert set(inverse_cdf(logits.softmax(-1), uniforms).tolist()) == {1, 2, 3}


def test_no_token_of_weight_0_is_drawn_where_cumulative_weights_waver() -> None:
    weights = torch.tensor([[0.25, 0, 0, 0.25, 0, 0.5, 0]])
    exact = weights.cumsum(-1)
    wavering = exact + torch.tensor([[0, 1, -1, 0, 1, 0, 1]]) * 2.0**-20  # as a GPU sums in parallel
    uniforms = torch.cat((torch.rand(1000), (wavering[0] - 2.0**-22).clamp(0, 1 - 2**-24)))
    assert torch.equal(rising(exact, weights), exact)
    drawn = torch.searchsorted(rising(wavering, weights).expand(len(uniforms), -1).contiguous(), uniforms[:, None], right=True)
    assert set(drawn.flatten().tolist()) == {0, 3, 5}
