"""The encoder–decoder: its network, its batches, what it writes, and the command line."""

from __future__ import annotations

import itertools
import json
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Shell, make_shell, settled
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import disturbed, random_transformer, small_config

from aigc_cli.backends.transformer.config import EncoderDecoderPlan, Sample, Train
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoding.beam import BeamOptions, Hypothesis, beam_search
from aigc_cli.backends.transformer.decoding.generate import MOST_TOKENS, Job, SamplingOptions, batches, generate
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.decoding.sampling import next_tokens
from aigc_cli.backends.transformer.decoding.token_rules import FieldEnds, TokenRules
from aigc_cli.backends.transformer.encoder_decoder.incremental import Seq2SeqLM
from aigc_cli.backends.transformer.encoder_decoder.likelihood import answer_nats
from aigc_cli.backends.transformer.encoder_decoder.model import (
    EncoderDecoder,
    EncoderDecoderConfig,
    PositionalEncoding,
    load_pretrained,
    save_pretrained,
)
from aigc_cli.backends.transformer.encoder_decoder.pairs import BLOCK, PairBatches, Pairs, collate_pairs
from aigc_cli.backends.transformer.encoder_decoder.presets import decide, model_config
from aigc_cli.backends.transformer.inputs import read_inputs
from aigc_cli.backends.transformer.loss import IGNORED
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.backends.transformer.sample import check_choices
from aigc_cli.data.text.dataset import TextRequest, TokenArrays, documents, encode_documents, prepare_text
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.pieces import End, halves
from aigc_cli.data.text.tokenizers.words import fit_word
from aigc_cli.engine.runs.run import open_run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.text.answers import answer_measures
from aigc_cli.metrics.text.nearest import NearestText
from aigc_cli.options import recorded
from aigc_cli.ui.progress import next_steps

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
V, SOS, EOS, FIELD = 11, 10, 9, 8
SMALL: dict[str, Any] = {
    "vocab_size": V,
    "d_model": 16,
    "n_heads": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "d_ff": 24,
    "context": 12,
    "sos_id": SOS,
    "eos_id": EOS,
}


def network(seed: int = 0, **shape: Any) -> EncoderDecoder:
    """A network all of whose weights matter."""
    torch.manual_seed(seed)
    return disturbed(EncoderDecoder(EncoderDecoderConfig(**(SMALL | shape))), seed, 0.3)


@pytest.fixture(scope="module")
def model() -> EncoderDecoder:
    return network()


# The network


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 300), st.integers(1, 20))
def test_positions_are_the_papers_formula(d_model: int, begin: int, length: int) -> None:
    table = PositionalEncoding(d_model)(begin, length)
    assert table.shape == (length, d_model)
    for row, channel in itertools.product((0, length - 1), range(d_model)):
        angle = (begin + row) / 10000 ** ((channel - channel % 2) / d_model)
        assert table[row, channel] == pytest.approx(math.cos(angle) if channel % 2 else math.sin(angle), abs=1e-6)


def test_a_shift_of_positions_is_one_rotation_wherever_it_is() -> None:
    encoding = PositionalEncoding(8)
    at, later = encoding(0, 50).view(50, 4, 2), encoding(7, 50).view(50, 4, 2)
    for pair in range(4):
        angle = torch.tensor(7 / 10000 ** (2 * pair / 8))
        turn = torch.stack((torch.stack((angle.cos(), -angle.sin())), torch.stack((angle.sin(), angle.cos()))))
        torch.testing.assert_close(at[:, pair] @ turn, later[:, pair], atol=1e-5, rtol=0)


def test_no_future_and_no_padding_changes_an_output(model: EncoderDecoder) -> None:
    source, lengths = torch.randint(0, FIELD, (2, 5)), torch.tensor([5, 3])
    target = torch.randint(0, FIELD, (2, 6))
    hidden = model(source, lengths, target)
    changed = source.clone()
    changed[1, 3:] = torch.tensor([7, 0])
    torch.testing.assert_close(model(changed, lengths, target), hidden)
    shorter = model(source[1:, :3], lengths[1:], target[1:])
    torch.testing.assert_close(shorter, hidden[1:], atol=1e-5, rtol=1e-5)
    for t in range(5):
        later = target.clone()
        later[:, t + 1 :] = (later[:, t + 1 :] + 1) % FIELD
        torch.testing.assert_close(model(source, lengths, later)[:, : t + 1], hidden[:, : t + 1], atol=1e-5, rtol=1e-5)
    present = source.clone()
    present[1, 2] = (present[1, 2] + 1) % FIELD
    assert not torch.allclose(model(present, lengths, target)[1], hidden[1], atol=1e-3)


def test_embeddings_are_scaled_and_tied(model: EncoderDecoder) -> None:
    ids = torch.tensor([[3, 3]])
    expected = model.embedding.weight[3] * 4 + PositionalEncoding(16)(0, 2)
    torch.testing.assert_close(model.embed(ids)[0], expected)
    assert model.head is model.embedding.weight
    loose = network(tied=False)
    assert loose.head is loose.output.weight


def test_depth_does_not_matter_at_the_start() -> None:
    torch.manual_seed(0)
    deep = EncoderDecoder(EncoderDecoderConfig(**SMALL | {"num_decoder_layers": 6})).eval()
    target = torch.tensor([[SOS, 1, 2]])
    hidden = deep(torch.tensor([[4, EOS]]), torch.tensor([2]), target)
    torch.testing.assert_close(hidden, F.layer_norm(deep.embed(target), (16,)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_heads": 3}, "d_model is 16; it must be a multiple of n_heads, 3"),
        ({"num_decoder_layers": 0}, "num_decoder_layers is 0; it must be at least 1"),
        ({"eos_id": 11}, "eos_id is 11; the vocabulary ends at 10"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
    ],
)
def test_shapes_that_no_network_has(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        EncoderDecoderConfig(**(SMALL | wrong))
    assert str(caught.value) == message


def test_a_saved_network_is_read_back(model: EncoderDecoder, tmp_path: Path) -> None:
    save_pretrained(model, tmp_path)
    read = load_pretrained(tmp_path)
    assert read.config == model.config
    on_disk = json.loads((tmp_path / "config.json").read_text())
    assert (on_disk["nhead"], on_disk["dim_feedforward"], on_disk["max_seq_length"]) == (2, 24, 12)  # as ever
    inputs = torch.tensor([[1, EOS]]), torch.tensor([2]), torch.tensor([[SOS, 3]])
    torch.testing.assert_close(read(*inputs), model(*inputs))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "qwen3"}))
    with pytest.raises(RequestError, match="the model type is 'qwen3', not 'aigc-encoder-decoder'"):
        load_pretrained(tmp_path)


# Pairs


def pairs_of(rows: Sequence[tuple[list[int], list[int]]]) -> Pairs:
    tokens, offsets, middle = list[int](), [0], []
    for source, target in rows:
        middle.append(len(tokens) + len(source))
        tokens += [*source, FIELD, *target]
        offsets.append(len(tokens))
    nothing = np.zeros(len(rows), np.int64)
    return Pairs(TokenArrays(np.array(tokens), np.array(offsets), nothing, nothing), np.array(middle))


ROWS = [([1, 2, 3], [4]), ([], [5, 6]), ([7], []), ([2, 2], [3, 3, 3, 3])]


def test_a_batch_holds_what_each_target_is_predicted_from() -> None:
    batch = collate_pairs(pairs_of(ROWS), np.array([3, 1, 2]), SOS, EOS)
    assert batch["source"].tolist() == [[2, 2, EOS], [EOS, EOS, EOS], [7, EOS, EOS]]
    assert batch["source_lengths"].tolist() == [3, 1, 2]
    assert batch["target_in"].tolist() == [[SOS, 3, 3, 3, 3], [SOS, 5, 6, EOS, EOS], [SOS, EOS, EOS, EOS, EOS]]
    none = IGNORED
    assert batch["targets"].tolist() == [[3, 3, 3, 3, EOS], [5, 6, EOS, none, none], [EOS, none, none, none, none]]
    cut = collate_pairs(pairs_of(ROWS), np.array([3]), SOS, EOS, longest=2)
    assert [cut[name].tolist() for name in ("source", "target_in", "targets")] == [[[2, 2]], [[SOS, 3]], [[3, 3]]]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 3))
def test_every_epoch_has_every_pair_once_and_a_batch_follows_from_its_step(n: int, batch_size: int, seed: int) -> None:
    pairs = pairs_of([([i % 7] * (i % 5), [i % 6] * (i % 4)) for i in range(n)])
    batches = PairBatches(pairs, batch_size, SOS, EOS, longest=9, seed=seed)
    blocks = [batches._of_block(0), batches._of_block(1)]
    seen = np.concatenate([np.sort(np.concatenate(block)) for block in blocks])
    counts = Counter(seen.tolist())
    assert set(counts) == set(range(n)) or 2 * BLOCK * batch_size < n
    assert max(counts.values()) - min(counts.values()) <= 1
    again = PairBatches(pairs, batch_size, SOS, EOS, longest=9, seed=seed)
    for step in (BLOCK + 1, 3):
        assert all(torch.equal(again(step)[name], tensor) for name, tensor in batches(step).items())


def test_what_answers_cost_is_the_sum_over_their_tokens(model: EncoderDecoder) -> None:
    pairs = pairs_of(ROWS * 3)
    index = np.array([5, 0, 2, 7])
    nats = answer_nats(model, pairs, index, batch_size=3, device=CPU)
    for place, i in enumerate(index.tolist()):
        source, target = [*pairs.source(i), EOS], pairs.target(i)
        hidden = model(torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([[SOS, *target]]))
        log_p = model.logits(hidden)[0].detach().log_softmax(-1)
        expected = -sum(float(log_p[t, token]) for t, token in enumerate([*target, EOS]))
        assert nats[place] == pytest.approx(expected, rel=1e-4)


def test_unknown_words_of_targets_are_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    tokenizer = fit_word(["red fox red fox"], 1, unk=True).with_fields()
    assert tokenizer.spelling is not None
    rows = [("green hen", "red"), ("red", "blue ox"), ("fox", "")]
    (tmp_path / "a.tsv").write_text("q\ta\n" + "".join(f"{q}\t{a}\n" for q, a in rows))
    arrays = encode_documents(str(tmp_path / "a.tsv"), tokenizer, reading=Reading(("q", "a")), progress=lambda *_: None)
    pairs = Pairs.of(arrays, tokenizer, measured=True)
    assert [(pairs.source_text(i, tokenizer), pairs.target_text(i, tokenizer)) for i in range(3)] == rows
    spelled = sum(map(tokenizer.spelling.nats, (b"blue", b" ox")))
    assert pairs.spelling is not None
    np.testing.assert_allclose(pairs.spelling, [0, spelled, 0])
    small = network(vocab_size=tokenizer.vocab_size, sos_id=tokenizer.sos_id, eos_id=tokenizer.eot_id)
    with_spelling, without = (
        answer_nats(small, of, np.arange(3), batch_size=2, device=CPU) for of in (pairs, Pairs.of(arrays, tokenizer))
    )
    np.testing.assert_allclose(with_spelling - without, [0, spelled, 0], atol=1e-9)


# Writing


def log_p_of(model: EncoderDecoder, source: list[int], ids: list[int], *, ended: bool) -> float:
    """By the definition: without a cache, the token that ends a field impossible but not missing from the sum."""
    hidden = model(torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([[SOS, *ids]]))
    log_p = model.logits(hidden)[0].detach().double().log_softmax(-1)
    return sum(float(log_p[t, token]) for t, token in enumerate([*ids, EOS] if ended else ids))


JOBS = [Job(0, [1, 2, 3, EOS], 3), Job(3, [EOS], 2), Job(5, [7, 7, 7, 7, 7, EOS], 2)]


def written(model: LanguageModel, options: SamplingOptions, batch_size: int, **more: Any) -> list[list[int]]:
    given = {"rules": TokenRules(EOS, FieldEnds(FIELD, 1)), "seed": 0, "decode_bytes": bytes, "device": CPU}
    return [made.ids for made in generate(model, JOBS, options=options, batch_size=batch_size, **given, **more)]


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(),
        SamplingOptions(temperature=0, max_tokens=100),
        SamplingOptions(top_p=0.8, repetition_penalty=1.4, max_tokens=9),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_an_answer_is_drawn_as_the_definition_has_it(model: EncoderDecoder, options: SamplingOptions, batch_size: int) -> None:
    sources = [job.prompt_ids for job in JOBS for _ in range(job.draws)]
    for index, ids in enumerate(written(Seq2SeqLM(model), options, batch_size)):
        random, source = np.random.Generator(np.random.Philox(key=(0, index))), torch.tensor([sources[index]])
        expected: list[int] = []
        for _ in range(options.max_tokens or 2 * model.config.context):
            hidden = model(source, torch.tensor([source.shape[1]]), torch.tensor([[SOS, *expected]]))
            logits = model.logits(hidden[:, -1]).detach()
            logits[0, FIELD] = -torch.inf
            seen = torch.zeros(1, V, dtype=torch.bool)
            seen[0, expected] = True
            uniform = torch.tensor([random.random(dtype=np.float32)])
            token = int(next_tokens(logits, options, seen, uniform if options.temperature else None))
            if token == EOS:
                break
            expected.append(token)
        assert ids == expected


def test_a_source_is_read_once_for_all_of_its_answers(model: EncoderDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    encode = model.encode

    def counted(source: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        read.append(len(source))
        return encode(source, lengths)

    monkeypatch.setattr(model, "encode", counted)
    written(Seq2SeqLM(model), SamplingOptions(), 64)
    assert read == [3]


def searched(model: LanguageModel, jobs: list[Job], batch_size: int = 64, **options: Any) -> list[list[Hypothesis]]:
    given = {"rules": TokenRules(EOS, FieldEnds(FIELD, 1)), "batch_size": batch_size, "device": CPU}
    return list(beam_search(model, jobs, options=BeamOptions(**options), **given))  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0.0, 1.0, 1.7])
def test_a_wide_beam_finds_what_trying_everything_finds(model: EncoderDecoder, alpha: float) -> None:
    tokens = [token for token in range(V) if token not in (EOS, FIELD)]
    texts = [list(ids) for length in range(3) for ids in itertools.product(tokens, repeat=length)]
    source = [1, 2, 3, EOS]
    scored = []
    for ids in texts:
        ends = len(ids) < 2  # or it was cut
        log_p = log_p_of(model, source, ids, ended=ends)
        scored.append((log_p / max(1, len(ids) + ends) ** alpha, ids, ends))
    scored.sort(key=lambda text: (not text[2], -text[0]))
    (found,) = searched(Seq2SeqLM(model), [Job(0, source, 12)], beams=200, length_penalty=alpha, max_tokens=2)
    assert [(text.ids, text.ended) for text in found] == [(ids, ends) for _, ids, ends in scored[:12]]
    assert [text.score for text in found] == pytest.approx([score for score, _, _ in scored[:12]], rel=1e-4)


class Loop:
    """A fixed model: after token 0, the end has probability 0.9, and token 1 the rest; after token 1, the end is very unlikely."""

    continues, longest, longest_prompt, begins_id = True, 50, None, 0

    def prefill(self, prompts: Sequence[Sequence[int]], *, room: int) -> Loop:
        self.steps = 0
        self.last = torch.tensor([prompt[-1] for prompt in prompts])
        return self

    @property
    def logits(self) -> torch.Tensor:
        return torch.tensor([[1e-9, 0.1, 0.9], [1e-9, 0.99, 0.01]]).log()[self.last]

    @logits.setter
    def logits(self, value: torch.Tensor) -> None:
        raise AssertionError

    def step(self, ids: torch.Tensor) -> None:
        self.steps += 1
        self.last = ids

    def select(self, rows: list[int]) -> None:
        self.last = self.last[rows]


@pytest.mark.parametrize("beams", [1, 2])
def test_a_search_ends_with_a_text_that_ends(beams: int) -> None:
    loop = Loop()
    options = BeamOptions(beams)
    (found,) = beam_search(loop, [Job(0, [0])], options=options, rules=TokenRules(2), batch_size=8, device=CPU)
    assert (found[0].ids, found[0].ended) == ([], True)
    assert loop.steps <= 50


@given(st.lists(st.integers(1, 90_000), max_size=40).map(sorted), st.integers(1, 9))
def test_rows_are_read_together_as_far_as_memory_allows(lengths: list[int], batch_size: int) -> None:
    parts = list(batches(lengths, batch_size))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(lengths)))
    for part in parts:
        rows = lengths[part]
        assert len(rows) == 1 or (len(rows) <= batch_size and len(rows) * rows[-1] <= MOST_TOKENS)


def test_a_beam_of_one_takes_the_likeliest_token_each_time(model: EncoderDecoder) -> None:
    greedy = [ids for (ids, job) in zip(written(Seq2SeqLM(model), SamplingOptions(temperature=0), 4), range(7), strict=True)]
    jobs = [Job(i, job.prompt_ids) for i, job in enumerate(JOBS)]
    assert [found[0].ids for found in searched(Seq2SeqLM(model), jobs, beams=1)] == [greedy[0], greedy[3], greedy[5]]


def test_a_wider_beam_finds_no_less_likely_text_and_batches_change_nothing(model: EncoderDecoder) -> None:
    jobs = [Job(i, [*source, EOS]) for i, source in enumerate(([1], [2, 3], [4, 4, 4], [], [6, 5]))]
    narrow, wide = (searched(Seq2SeqLM(model), jobs, beams=beams, length_penalty=0.0) for beams in (1, 9))
    for few, many in zip(narrow, wide, strict=True):
        assert many[0].score >= few[0].score - 1e-5
        ids, ended = many[0].ids, many[0].ended
        assert many[0].log_p == pytest.approx(log_p_of(model, [*jobs[wide.index(many)].prompt_ids], ids, ended=ended), rel=1e-4)
    alone = searched(Seq2SeqLM(model), jobs, batch_size=1, beams=9, length_penalty=0.0)
    assert [found[0].ids for found in alone] == [found[0].ids for found in wide]


def test_a_beam_writes_the_fields_that_a_prompt_leaves() -> None:
    texts = random_transformer(small_config(vocab_size=V, context=16, eot_id=EOS), spread=0.3)
    jobs = [Job(0, [EOS, 1, FIELD, 2]), Job(1, [EOS])]
    rules, options = TokenRules(EOS, FieldEnds(FIELD, 3)), BeamOptions(4, max_tokens=60)
    every = beam_search(CausalLM(texts), jobs, options=options, rules=rules, batch_size=8, device=CPU)
    for found, borders in zip(every, (1, 2), strict=True):
        assert found[0].ids.count(FIELD) == borders or not found[0].ended


# The plan


def lengths(n: int, least: int, most: int) -> np.ndarray:
    return np.random.default_rng(0).integers(least, most, n, endpoint=True)


def test_a_plan_is_complete_and_deciding_it_again_changes_nothing() -> None:
    options = settled(Train(arch="encoder-decoder"))
    given: dict[str, Any] = {"flops": 5e13, "vocab_size": 500, "sources": lengths(4000, 3, 9), "targets": lengths(4000, 3, 9)}
    plan, reasons = decide(options, **given)
    assert plan.context == 16 and len(reasons) == 1
    assert isinstance(model_config(plan, 500, 3, 3), EncoderDecoderConfig)
    assert decide(plan, **given)[0] == plan


@pytest.mark.parametrize(("d_model", "n_heads"), [(64, 2), (100, 2), (200, 5), (37, 1)])
def test_heads_divide_the_width(d_model: int, n_heads: int) -> None:
    plan, _ = decide(
        settled(Train(arch="encoder-decoder", d_model=d_model)),
        flops=1e13,
        vocab_size=50,
        sources=np.array([3]),
        targets=np.array([8]),
    )
    assert plan.n_heads == n_heads


def test_what_is_cut_off_counts_for_nothing() -> None:
    options = settled(Train(arch="encoder-decoder"))
    given: dict[str, Any] = {"flops": 5e13, "vocab_size": 500}
    long, cut = (decide(options, sources=of, targets=of, **given)[0] for of in (np.full(400, 8000), np.full(400, 256)))
    assert long == cut and long.batch_size > 1


def test_long_pairs_are_computed_in_parts_and_with_dropout_in_smaller_ones() -> None:
    long = np.full(400, 500)
    given: dict[str, Any] = {"flops": 5e13, "vocab_size": 500, "sources": long, "targets": long}
    of = [
        decide(
            settled(Train(arch="encoder-decoder", preset="small", batch_size=16, dropout=dropout)), **given, memory=4 * 10**9
        )
        for dropout in (0.0, 0.1)
    ]
    assert [plan.micro_batch_size for plan, _ in of] == [8, 2]
    assert all("memory left" in reasons[-1] for _, reasons in of)


def test_options_override_the_preset_and_truncation_is_reported() -> None:
    options = Train(
        arch="encoder-decoder", n_heads=2, num_encoder_layers=1, num_decoder_layers=7, d_ff=33, d_model=32,
        context=5, tied=False,
    )  # fmt: skip
    sources, targets = np.array([3, 9]), np.array([8, 7])
    plan, reasons = decide(settled(options), flops=1e12, vocab_size=50, sources=sources, targets=targets)
    config = model_config(plan, 50, 0, 1)
    shape = (config.n_heads, config.num_encoder_layers, config.num_decoder_layers, config.d_ff, config.context)
    assert shape == (2, 1, 7, 33, 5) and not config.tied
    assert reasons[1:] == [
        "1 of the sources are cut to 5 tokens; to keep them whole, use --context 9",
        "2 of the targets are cut to 5 tokens; to keep them whole, use --context 9",
    ]


def test_a_plan_of_an_earlier_version_is_of_its_architecture() -> None:
    """It has no options of the other one, which were not there yet."""
    options = Train(data="x", arch="encoder-decoder", steps=3, threads=1, compile=False)
    decided = {"preset": "nano", "context": 32, "d_model": 32, "n_heads": 1, "d_ff": 64, "tied": True, "dropout": 0.0}
    plan = EncoderDecoderPlan.of(options, lr=0.01, batch_size=4, num_encoder_layers=1, num_decoder_layers=1, **decided)
    record = {name: value for name, value in recorded(plan).items() if name not in ("together", "last_field")}
    EncoderDecoderPlan.read(record).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "a", "target": "b"}, "--source, --target: only for --arch encoder-decoder"),
        ({"num_decoder_layers": 2}, "--num-decoder-layers: only for --arch encoder-decoder"),
        ({"arch": "encoder-decoder", "n_kv_heads": 2, "fields": "a,b"}, "--fields, --n-kv-heads: only for --arch decoder-only"),
        ({"arch": "encoder-decoder", "source": "a"}, "--source and --target come together: --target is missing"),
        ({"arch": "encoder-decoder", "source": "a", "target": "a"}, "--source and --target both name 'a'"),
        (
            {"arch": "encoder-decoder", "source": "a", "target": "b", "source_ratio": 0.5},
            "--source and --source-ratio can't be used together",
        ),
    ],
)
def test_options_that_make_no_sense_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        Train(**options).check()
    assert str(caught.value) == message


# Data


@given(st.text(max_size=30), st.floats(0.01, 0.99), st.integers(1, 7))
def test_a_text_in_two_halves_is_the_text(text: str, share: float, step: int) -> None:
    parts = [text[i : i + step] for i in range(0, len(text), step)] or [""]
    pieces = [*((part, End.NOTHING) for part in parts[:-1]), (parts[-1], End.DOCUMENT)]
    (first, first_end), (second, second_end) = halves(iter(pieces), share)
    assert (first + second, first_end, second_end) == (text, End.FIELD, End.DOCUMENT)
    assert len(first) == int(share * len(text))


def test_texts_are_cut_by_characters_whatever_the_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "a.tsv"
    path.write_text("text\n" + "".join(f"ab山c水{i}\n" for i in range(30)))
    for tokenizer in ("byte", "char", "bpe"):
        request = TextRequest(str(path), reading=Reading(source_share=0.4), tokenizer=tokenizer)  # type: ignore[arg-type]
        data = prepare_text(request, progress=lambda *_: None)
        texts = {text for arrays in (data.train, data.select, data.report) for text in documents(arrays, data.tokenizer)}
        assert texts == {f"ab山c水{i}"[:2] + "\n" + f"ab山c水{i}"[2:] for i in range(30)}


# Measures


def test_answers_are_measured_as_sacrebleu_does() -> None:
    references = ["the cat sat on the mat", "a dog barked loudly at night", "rain"]
    measures = answer_measures(references, references, tokenize="13a")
    assert measures["chrf"].value == pytest.approx(100)
    assert (measures["exact_match"].value, measures["exact_match"].n) == (1, 3)
    wrong = answer_measures(["the cat sat on a hat", "a dog barked loudly at noon", "sun"], references, tokenize="13a")
    assert 0 < wrong["chrf"].value < 100 and 0 < wrong["bleu"].value < 100 and wrong["exact_match"].value == 0
    assert wrong["chrf"].low is not None and wrong["chrf"].low <= wrong["chrf"].value
    nothing = answer_measures(["", "x", "ab"], ["ab", "ab", "ab"], tokenize="char")["chrf"]
    assert nothing.low is not None and nothing.high is not None and nothing.low <= nothing.value <= nothing.high
    assert "tok:13a" in wrong["bleu"].extra["signature"]


@given(st.lists(st.text("abc 山", max_size=6), min_size=1, max_size=8), st.text("abc 山", max_size=6))
def test_the_nearest_text_has_the_largest_share_of_common_ngrams(texts: list[str], text: str) -> None:
    def similarity(other: str) -> float:
        a, b = ({*t, *map("".join, itertools.pairwise(t))} for t in (text, other))
        return len(a & b) / max(1, len(a | b))

    expected = max(range(len(texts)), key=lambda i: similarity(texts[i]))
    assert similarity(texts[NearestText(texts).nearest(text)]) == pytest.approx(similarity(texts[expected]))


# The command line

SMALL_RUN = ("--d-model", "16", "--n-heads", "2", "--batch-size", "8", "-q")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, toy_path: Path, shared_cache: Path) -> Shell:
    shell = make_shell(tmp_path_factory.mktemp("pairs"), toy_path, shared_cache)
    words = ["red", "old", "fox", "hen", "ab", "c"]
    rows = [(f"{a} {b}", f"{b} {a}") for a in words for b in words for _ in range(5)]
    table = "".join(f"{left}{i}\t{right}{i}\n" for i, (left, right) in enumerate(rows))
    (shell.cwd / "pairs.tsv").write_text("q\ta\n" + table)
    arguments = ("--arch", "encoder-decoder", "--source", "q", "--target", "a", "--steps", "6", "--run", "pairs")
    shell.ok("train", "transformer", "--data", "pairs.tsv", *arguments, *SMALL_RUN)
    return shell


def lines_of(out: str) -> list[str]:
    return out.removesuffix("\n").split("\n")


SAMPLE = ("sample", "transformer", "--run", "pairs", "--seed", "1", "-q")


def test_a_line_of_sources_is_a_line_of_targets_in_order(shell: Shell) -> None:
    sources = ["red fox1", "", "hen", "a much longer source than the rest of them", "山", "x\ty"]
    asked = "".join(f"{source}\n" for source in sources)
    records = list(map(json.loads, lines_of(shell.ok(*SAMPLE, "--prompt", "-", "--max-tokens", "9", "--json", input=asked))))
    assert [record["prompt"] for record in records] == sources
    assert list(records[0]) == ["text", "prompt", "seed", "index", "finish", "q", "a"]
    assert all(record["q"] == record["prompt"] and record["a"] == record["text"] for record in records)
    echoed = lines_of(shell.ok(*SAMPLE, "--prompt", "hen", "--echo", "--max-tokens", "9"))
    assert echoed[0].startswith("hen\t")
    streamed = shell.ok(*SAMPLE, "--prompt", "hen", "--stream", "--max-tokens", "9")
    assert streamed == echoed[0].removeprefix("hen\t") + "\n"


def test_a_beam_gives_its_best_texts_with_their_scores(shell: Shell) -> None:
    found = shell.ok(*SAMPLE, "--prompt", "red", "--beam", "3", "-n", "2", "--max-tokens", "5", "--json")
    first, second = map(json.loads, lines_of(found))
    ranks = [(text["finish"] != "end", -text["score"]) for text in (first, second)]
    assert ranks == sorted(ranks) and first["text"] != second["text"]
    assert (first["index"], second["index"], first["prompt"]) == (0, 1, "red")


def test_earlier_names_of_options_keep_working(shell: Shell) -> None:
    train = ("train", "transformer", "--data", "pairs.tsv", "--arch", "encoder-decoder", "--source", "q", "--target", "a", "-q")
    shape = {"--d-model": 16, "--nhead": 4, "--dim-feedforward": 24, "--max-seq-length": 6, "--batch-size": 8, "--steps": 4}
    earlier = [word for flag, value in shape.items() for word in (flag, str(value))]
    run = shell.cwd / shell.ok(*train, *earlier, "--run", "earlier").strip()
    record = json.loads((run / "run.json").read_text())
    names = {"n_heads": "nhead", "d_ff": "dim_feedforward", "context": "max_seq_length"}
    assert [record["plan"][name] for name in names] == [4, 24, 6]
    assert not record["plan"].keys() & {*names.values()}
    # As a run of an earlier version is recorded:
    for kept in (record["plan"], record["asked"]):
        kept |= {old: kept[name] for name, old in names.items()} | dict.fromkeys(names)
    (run / "run.json").write_text(json.dumps(record))
    assert shell.ok("sample", "transformer", "--run", "earlier", "--prompt", "red", "--seed", "1", "-q")
    repeated = shell.cwd / shell.ok("train", "transformer", "--config", run / "run.json", "--run", "repeated", "-q").strip()
    assert json.loads((repeated / "run.json").read_text())["plan"]["n_heads"] == 4
    refused = shell("train", "transformer", "--run", "earlier", "--resume", "--n-heads", 2, "-q")
    assert refused.returncode == 2 and "--n-heads 2 contradicts run" in refused.stderr and "which has 4" in refused.stderr
    refused = shell("train", "transformer", "--run", "earlier", "--resume", "--nhead", 2, "-q")
    assert refused.returncode == 2 and "--nhead 2 contradicts run" in refused.stderr
    refused = shell(*train, "--nhead", 2, "--n-heads", 2)
    assert refused.returncode == 2 and "--nhead and --n-heads are the same option; give only one of them" in refused.stderr
    shell.ok("train", "transformer", "--run", "earlier", "--resume", "--n-heads", 4, "--max-seq-length", 6, "--steps", 6, "-q")
    assert "--nhead" not in shell.ok("train", "transformer", "--help")


def test_what_is_to_be_typed_next_answers_a_source(shell: Shell) -> None:
    (step, *_) = next_steps("transformer", "pairs", open_run(shell.cwd / "runs/transformer/pairs").first_sample)
    assert step.startswith("next: aigc sample transformer --run pairs --prompt ")
    assert len(lines_of(shell.ok(*shlex.split(step)[2:], "--max-tokens", "9", "-q"))) == 4


@pytest.mark.parametrize(
    ("given", "prompt", "message"),
    [
        ((), None, "this run answers a source: give it with --prompt TEXT, or one per line with --prompt -"),
        (("q=x",), "x", "--given: this run answers a source; give it with --prompt"),
    ],
)
def test_a_source_has_to_be_given_as_such(given: tuple[str, ...], prompt: str | None, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        list(read_inputs(Start(True, ("q", "a"), answers=True), given, prompt))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 2, "top_k": 3}, "--beam searches instead of sampling, so --top-k can't be used with it"),
        (
            {"beam": 2, "stream": True, "stop": (".",)},
            "--beam searches instead of sampling, so --stop, --stream can't be used with it",
        ),
        ({"beam": 2, "n": 3}, "--beam 2 finds at most 2 texts, fewer than -n 3"),
        ({"length_penalty": 2.0}, "--length-penalty needs --beam"),
    ],
)
def test_a_search_is_no_drawing(options: dict[str, Any], message: str) -> None:
    check_choices(Sample(beam=2, n=2))
    with pytest.raises(RequestError) as caught:
        check_choices(Sample(**options))
    assert str(caught.value) == message


def test_answers_are_measured_with_baselines(shell: Shell) -> None:
    measured = json.loads(shell.ok("eval", "transformer", "--run", "pairs", "-n", "5", "--json", "-q"))
    assert {"bits_per_char", "bits_per_byte", "perplexity", "chrf", "bleu", "exact_match"} <= set(measured)
    assert set(measured["chrf"]) >= {"value", "low", "high", "n", "copy", "nearest", "decoding"}
    assert (measured["chrf"]["n"], measured["bleu"]["tokenize"]) == (5, "13a")
    assert "baseline" in measured["bits_per_char"]
    (shell.cwd / "others.tsv").write_text("a\tq\nfox red\tred fox\n hen\thn\n")
    other = json.loads(shell.ok("eval", "transformer", "--run", "pairs", "--data", "others.tsv", "--json", "-q"))
    assert (other["bits_per_char"]["n"], other["exact_match"]["n"]) == (2, 2)


def test_texts_are_split_without_a_source_column(shell: Shell) -> None:
    (shell.cwd / "texts.tsv").write_text("text\n" + "".join(f"roses are red {i}\n" for i in range(60)))
    train = ("train", "transformer", "--data", "texts.tsv", "--arch", "encoder-decoder", "--run", "texts")
    shell.ok(*train, "--source-ratio", "0.3", "--steps", "5", *SMALL_RUN)
    sample = ("sample", "transformer", "--run", "texts", "--seed", "1", "-q", "--prompt", "roses", "--json")
    assert list(json.loads(shell.ok(*sample))) == ["text", "prompt", "seed", "index", "finish"]
    (shell.cwd / "more.tsv").write_text("text\n" + "x" * 100 + "\n")
    measured = json.loads(shell.ok("eval", "transformer", "--run", "texts", "--data", "more.tsv", "-n", "0", "--json", "-q"))
    bits = measured["bits_per_char"]["value"] / measured["bits_per_byte"]["value"]
    assert bits == pytest.approx(1)
    resumed = ("train", "transformer", "--run", "texts", "--resume", "-q", "--source-ratio")
    assert shell.ok(*resumed, "0.3").strip() == "runs/transformer/texts"
    done = shell(*resumed, "0.5")
    assert done.returncode == 2
    assert done.stderr.startswith("aigc: --source-ratio 0.5 contradicts run runs/transformer/texts, which has 0.3")


def test_words_are_answered_with_words(shell: Shell) -> None:
    pairs = ("--data", "pairs.tsv", "--arch", "encoder-decoder", "--source", "q", "--target", "a", "--steps", "5")
    shell.ok("train", "transformer", *pairs, "--tokenizer", "word", "--min-freq", "40", "--unk", "--run", "words", *SMALL_RUN)
    (line,) = lines_of(shell.ok("sample", "transformer", "--run", "words", "--prompt", "purple fox", "--beam", "2", "-q"))
    assert not any(special in line for special in ("<unk>", "<sos>", "<pad>"))
    measured = json.loads(shell.ok("eval", "transformer", "--run", "words", "-n", "3", "--json", "-q"))
    assert 0 < measured["unknown_words"]["value"] < 1


def test_empty_targets_are_refused(shell: Shell) -> None:
    (shell.cwd / "empty.tsv").write_text("q\ta\n" + "".join(f"x{i}\t\n" for i in range(40)))
    arguments = ("--arch", "encoder-decoder", "--source", "q", "--target", "a", "--steps", "3")
    done = shell("train", "transformer", "--data", "empty.tsv", *arguments, *SMALL_RUN)
    assert done.returncode == 2
    assert done.stderr == f"aigc: {shell.cwd / 'empty.tsv'}: all training targets are empty\n"
