"""From a budget and a corpus to a model, how its texts start, and its advice after training."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import settled
from hypothesis import given
from hypothesis import strategies as st

from aigc_cli.backends.presets import NOMINAL_FLOPS, preset_for
from aigc_cli.backends.transformer.config import DecoderOnlyPlan, Size, Train
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoder_only.presets import decide, model_config
from aigc_cli.backends.transformer.diagnostics import advice
from aigc_cli.backends.transformer.presets import (
    PRESETS,
    Preset,
    dropout_for,
    tokenizer_budget,
    vocab_limit,
)
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text.dataset import TextDataset, TokenArrays
from aigc_cli.data.text.tokenizers.choice import affordable_vocab
from aigc_cli.data.text.tokenizers.tokenizer import byte
from aigc_cli.errors import RequestError

BUDGETS = st.floats(1e9, 1e21)
EPOCHS = st.floats(0, 1e4)


def planned(options: Train | None = None, **given: Any) -> DecoderOnlyPlan:
    """The plan for a middling budget and long documents."""
    return decide(
        settled(options or Train()), **{"flops": 1e15, "vocab_size": 512, "predictions": 10**6, "longest": 10**6, **given}
    )[0]


def block_parameters(plan: DecoderOnlyPlan) -> int:
    """The matrices of the blocks, counted in the network itself."""
    with torch.device("meta"):
        model = Transformer(model_config(plan, vocab_size=300, eot_id=0))
    return sum(weight.numel() for name, weight in model.named_parameters() if ".layers." in name and weight.ndim == 2)


# Presets


def test_presets_are_the_sizes_in_order_and_each_is_larger_than_the_one_before() -> None:
    assert tuple(preset.name for preset in PRESETS) == get_args(Size)
    for small, large in pairwise(PRESETS):
        assert small.flops < large.flops
        assert small.parameters < large.parameters
        assert small.context <= large.context
        assert small.batch_size * small.context <= large.batch_size * large.context
        assert small.lr >= large.lr


@given(BUDGETS, BUDGETS)
def test_a_larger_budget_never_has_a_smaller_model(a: float, b: float) -> None:
    small, large = (preset_for(PRESETS, flops) for flops in sorted((a, b)))
    assert small.parameters <= large.parameters
    assert PRESETS.index(small) <= PRESETS.index(large)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_is_the_network_that_is_built(preset: Preset) -> None:
    plan = planned(Train(preset=preset.name))
    assert block_parameters(plan) == preset.parameters
    config = model_config(plan, vocab_size=300, eot_id=7)
    assert config.n_heads * config.head_dim == config.d_model == preset.d_model
    assert config.head_dim == preset.head_dim and config.n_kv_heads == config.n_heads
    assert (config.context, config.eot_id, config.vocab_size, config.tied) == (preset.context, 7, 300, True)
    assert (plan.batch_size, plan.lr) == (preset.batch_size, preset.lr)


@given(BUDGETS)
def test_a_named_preset_holds_whatever_the_budget(flops: float) -> None:
    assert preset_for(PRESETS, flops, "mini").name == "mini"
    assert planned(Train(preset="mini"), flops=flops).d_model == preset_for(PRESETS, 0, "mini").d_model


# Memory


@pytest.mark.parametrize("preset", ["nano", "mini", "base"])
def test_a_batch_that_memory_does_not_hold_is_computed_in_parts(preset: Size) -> None:
    whole = planned(Train(preset=preset))
    sizes = [planned(Train(preset=preset), memory=10**n).micro_batch_size for n in range(7, 13)]
    assert sizes == sorted(sizes) and sizes[0] == 1 and sizes[-1] == whole.micro_batch_size == whole.batch_size
    assert planned(Train(preset=preset, micro_batch_size=3), memory=10**7).micro_batch_size == 3


def test_why_a_batch_is_computed_in_parts_is_told() -> None:
    given: dict[str, Any] = {"flops": 1e15, "vocab_size": 512, "predictions": 10**6, "longest": 10**6}
    _, reasons = decide(settled(Train(preset="small")), **given, memory=4 * 10**9)
    assert reasons[-1] == "micro-batches of 6: a batch of 32 would take about 6.9 GB of the 4.0 GB of memory left"


# Options


@pytest.mark.parametrize(
    "option",
    [
        {"context": 40},
        {"batch_size": 7},
        {"n_layers": 2},
        {"d_model": 96},
        {"n_heads": 2},
        {"n_kv_heads": 1},
        {"d_ff": 72},
        {"tied": False},
        {"lr": 0.5},
        {"dropout": 0.0},
        {"dropout": 0.33},
        {"weight_decay": 0.0},
        {"weight_decay": 0.7},
        {"cooldown": 0.0},
    ],
    ids=str,
)
def test_an_option_overrides_its_part_of_the_preset(option: dict[str, Any]) -> None:
    """At hundreds of epochs, where dropout is not 0 by default."""
    usual = planned(predictions=10**4)
    plan = planned(Train(**option), predictions=10**4)
    name = next(iter(option))
    assert getattr(plan, name) == option[name] != getattr(usual, name)
    assert plan.preset == usual.preset
    follow = {"context": {"batch_size"}, "d_model": {"n_heads", "n_kv_heads", "d_ff"}, "n_heads": {"n_kv_heads"}}
    changed = {field.name for field in dataclasses.fields(plan) if getattr(plan, field.name) != getattr(usual, field.name)}
    assert changed - {"micro_batch_size"} <= {name, "dropout"} | follow.get(name, set())
    config = model_config(plan, vocab_size=300, eot_id=0)
    assert config.n_heads % config.n_kv_heads == 0 and config.head_dim % 32 == 0


@given(
    st.integers(8, 1024),
    st.none() | st.integers(1, 32),
    st.none() | st.integers(1, 12),
    st.none() | st.integers(8, 4096),
    BUDGETS,
)
def test_any_width_has_a_network(
    d_model: int, n_heads: int | None, n_layers: int | None, d_ff: int | None, flops: float
) -> None:
    options = Train(d_model=d_model, n_heads=n_heads, n_layers=n_layers, d_ff=d_ff)
    config = model_config(planned(options, flops=flops), vocab_size=300, eot_id=0)
    assert config.d_model == d_model
    assert config.n_heads * config.head_dim >= d_model - config.n_heads
    assert d_ff or 8 / 3 * d_model - 256 <= config.d_ff <= 3 * d_model + 32
    assert config.n_layers == (n_layers or preset_for(PRESETS, flops).n_layers)


@given(st.builds(Train, context=st.none() | st.integers(8, 4096), batch_size=st.none() | st.integers(1, 64)), BUDGETS)
def test_deciding_a_plan_again_changes_nothing(options: Train, flops: float) -> None:
    plan = planned(options, flops=flops)
    assert planned(plan, flops=flops) == plan


# Context and batch


@given(st.integers(1, 5000), BUDGETS)
def test_the_context_follows_short_documents(longest: int, flops: float) -> None:
    """Long enough for the documents, by less than 32, and for no more than the preset has."""
    context = planned(longest=longest, flops=flops).context
    most = preset_for(PRESETS, flops).context
    assert 32 <= context <= most
    assert context >= min(longest, most)
    assert context < longest + 32 or context == 32


@given(st.integers(1, 5000), BUDGETS)
def test_a_step_has_as_many_tokens_whatever_the_context(longest: int, flops: float) -> None:
    plan, preset = planned(longest=longest, flops=flops), preset_for(PRESETS, flops)
    tokens = plan.batch_size * plan.context
    assert preset.batch_size * preset.context - plan.context < tokens <= preset.batch_size * preset.context


# Vocabulary


@given(st.floats(0.01, 1000), st.sampled_from(["cpu", "cuda", "cuda:1", "mps"]), st.none() | st.sampled_from(get_args(Size)))
def test_embeddings_of_the_largest_vocabulary_are_a_quarter(minutes: float, device: str, size: Size | None) -> None:
    """At most, and a token more would be over it; the vocabularies that are really made are smaller still."""
    limit = vocab_limit(Train(data="x", minutes=minutes, device=device, threads=2, preset=size))
    flops = NOMINAL_FLOPS[device.partition(":")[0]] * (2 if device == "cpu" else 1) * minutes * 60
    preset = preset_for(PRESETS, flops, size)

    def share(vocab_size: int) -> float:
        embeddings = vocab_size * preset.d_model
        return embeddings / (embeddings + preset.parameters)

    assert share(limit) <= 0.25 < share(limit + 1)
    assert share(affordable_vocab(limit)) < 0.25


def test_the_vocabulary_is_the_same_for_the_same_options_and_grows_with_the_budget() -> None:
    limits = [vocab_limit(Train(data="x", minutes=minutes, device="cpu", threads=2)) for minutes in (0.1, 1, 10, 100, 1000)]
    assert limits == sorted(limits) and limits[0] < limits[-1]
    assert vocab_limit(Train(data="x", device="cpu", threads=2)) == limits[2]
    budget = tokenizer_budget(Train(data="x", minutes=1, device="cpu", threads=2))
    assert vocab_limit(Train(tokenizer_budget=budget, minutes=1000, device="cpu")) == limits[1]


# Regularisation


@given(EPOCHS, EPOCHS)
def test_dropout_never_falls_with_epochs(a: float, b: float) -> None:
    few, many = (dropout_for(epochs) for epochs in sorted((a, b)))
    assert few <= many < 1


def test_text_that_is_seen_once_has_no_dropout() -> None:
    assert dropout_for(1) == 0
    assert dropout_for(100) > 0


@given(st.integers(100, 10**9), st.integers(100, 10**9), BUDGETS)
def test_less_text_is_regularised_more(a: int, b: int, flops: float) -> None:
    little, much = (planned(predictions=predictions, flops=flops) for predictions in sorted((a, b)))
    assert little.dropout >= much.dropout


def test_the_steps_asked_for_are_the_epochs_counted() -> None:
    """1,000 steps of 10 rows of 100 tokens are ten passes over 100,000."""
    options = Train(steps=1000, batch_size=10, context=100)
    plan, reasons = decide(settled(options), flops=1e15, vocab_size=300, predictions=100_000, longest=10**6)
    assert plan.dropout == dropout_for(10)
    assert len(reasons) == 1 and reasons[0].endswith("context 100) for 100,000 tokens, dropout 0")
    often = Train(steps=10_000, batch_size=10, context=100)
    _, reasons = decide(settled(often), flops=1e15, vocab_size=300, predictions=100_000, longest=10**6)
    assert reasons[0].endswith("dropout 0.2, since the text will be seen often")


# How texts begin


def dataset(lengths: list[int]) -> TextDataset:
    offsets, counts = np.cumsum([0, *lengths]), np.array(lengths)
    arrays = TokenArrays(np.ones(offsets[-1], np.uint16), offsets, counts, counts)
    return TextDataset(arrays, arrays, arrays, byte(), [], {}, False, False)


@pytest.mark.parametrize(
    ("lengths", "with_eot"),
    [([30] * 100, True), ([10], True), ([1000] * 20, True), ([64 * 40], True), ([64 * 60], False), ([10**6] * 3, False)],
    ids=str,
)
def test_texts_start_like_training_rows(lengths: list[int], with_eot: bool) -> None:
    assert Start.of(dataset(lengths), 64) == Start(with_eot)


def test_the_tokens_sampling_starts_from() -> None:
    tokenizer = byte()
    text, newline = tokenizer.encode("é"), tokenizer.encode("\n")
    assert Start(True).prompt_ids(tokenizer, None) == Start(True).prompt_ids(tokenizer, "") == [tokenizer.eot_id]
    assert Start(True).prompt_ids(tokenizer, "é") == [tokenizer.eot_id, *text]
    assert Start(False).prompt_ids(tokenizer, None) == Start(False).prompt_ids(tokenizer, "") == newline
    assert Start(False).prompt_ids(tokenizer, "é") == text


@pytest.mark.parametrize("start", [Start(True), Start(False)])
def test_a_start_is_read_as_it_was_written(start: Start, tmp_path: Path) -> None:
    start.save(tmp_path)
    assert Start.load(tmp_path) == start


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", "{}", '{"start": {}}', '{"start": 1}', '{"start": {"x": 1}}'])
def test_a_damaged_start_is_one_line(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "aigc.json").write_text(content)
    with pytest.raises(RequestError) as caught:
        Start.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'aigc.json'} cannot be read: ")
    assert "\n" not in str(caught.value)


# Advice


def history(*costs: float) -> list[dict[str, Any]]:
    """An evaluation every 100 steps, among lines of other kinds."""
    lines: list[dict[str, Any]] = []
    for number, cost in enumerate(costs, 1):
        lines += [{"event": "progress", "step": 100 * number - 50, "loss": 0.1}]
        lines += [{"event": "evaluated", "step": 100 * number, "bits_per_char": cost, "best": True}]
    return lines


def test_a_short_history_advises_nothing() -> None:
    assert advice([], 1.0) == advice(history(3, 2), 1.0) == []


def test_a_rise_says_where_the_lowest_was() -> None:
    (line,) = advice(history(3, 2, 2.5, 2.75), 10.0)
    assert "lowest at step 200 (2.000 bits per character) and is 2.750 now" in line
    assert "seen 40 times" in line and "more text" in line and "--dropout" in line


def test_many_epochs_without_a_rise_want_more_text() -> None:
    (line,) = advice(history(3, 2, 1.5), 10.0)
    assert "seen 30 times" in line and "more text" in line and "--minutes" not in line


def test_few_epochs_and_a_falling_cost_want_more_time() -> None:
    (line,) = advice(history(3, 2, 1.5), 200.0)
    assert "seen 1.5 times" in line and "--minutes" in line


@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=20), st.floats(0.1, 1e4))
def test_advice_is_one_line_and_speaks_of_memorising_only_after_a_rise(costs: list[float], epoch: float) -> None:
    (line,) = advice(history(*costs), epoch)
    assert "\n" not in line
    assert "memoris" not in line or costs[-1] > min(costs)
