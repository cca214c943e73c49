"""A GAN's plan, its schedules, the parsing of seeds, and its warnings."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from conftest import settled
from hypothesis import given
from hypothesis import strategies as st

from aigc_cli.backends.gan.config import Sample, Train, parse_seeds
from aigc_cli.backends.gan.diagnostics import concerns, outlook
from aigc_cli.backends.gan.learner import GANLearner
from aigc_cli.backends.gan.model import GANConfig
from aigc_cli.backends.gan.presets import PRESETS, SMALLEST, decide, fixed_strength, model_config
from aigc_cli.backends.gan.sample import between
from aigc_cli.backends.gan.schedules import BETA2, LAST_LR, betas, gamma_factor, lr_factor
from aigc_cli.backends.pictures.networks import levels_for
from aigc_cli.backends.presets import preset_for
from aigc_cli.data.pictures.dataset import PictureArrays, PictureDataset, PictureFormat
from aigc_cli.engine.settings import Plan, TrainOptions
from aigc_cli.errors import RequestError


def dataset(height: int = 8, width: int = 8, *, n: int = 500) -> PictureDataset:
    pixels = np.zeros((n, height, width, 1), np.uint8)
    arrays = PictureArrays(pixels, np.arange(n), None, [str(i) for i in range(n)], {})
    return PictureDataset(
        train=arrays, select=arrays, report=arrays, format=PictureFormat(height, width, "L"), classes=(),
        two_valued=False, explicit_val=False, info={}, notes=[], cached=True,
    )  # fmt: skip


# Sizes


@given(st.integers(1, 600), st.integers(1, 600))
def test_the_last_level_is_small_and_none_is_larger_than_it_must_be(height: int, width: int) -> None:
    levels = levels_for(height, width, SMALLEST)
    sides = [(-(-height // 2**level), -(-width // 2**level)) for level in range(1, levels + 1)]
    assert max(sides[-1]) <= SMALLEST and min(itertools.chain(*sides)) >= 1
    assert levels == 1 or max(sides[-2]) > SMALLEST


@given(st.floats(1, 1e20), st.floats(1, 1e20))
def test_more_budget_never_takes_a_smaller_preset(a: float, b: float) -> None:
    names = [preset.name for preset in PRESETS]
    few, many = (names.index(preset_for(PRESETS, flops).name) for flops in sorted((a, b)))
    assert few <= many


def test_larger_pictures_take_a_smaller_preset_for_the_same_budget() -> None:
    budget = PRESETS[1].flops
    small, large = (decide(settled(Train()), dataset(side, side, n=2), budget)[0].preset for side in (32, 512))
    assert (small, large) == (PRESETS[1].name, PRESETS[0].name)


def test_the_penalty_grows_with_the_pictures() -> None:
    small, large = (decide(settled(Train()), dataset(side, side, n=2), 1e12)[0].gamma for side in (32, 64))
    assert small and large == 4 * small
    sounds = dataclasses.replace(dataset(64, 64, n=2), heard=lambda pixels: pixels)
    assert 0 < decide(settled(Train()), sounds, 1e12)[0].gamma < large


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_network(preset: object) -> None:
    plan, _ = decide(settled(Train(preset=preset.name)), dataset(48, 64, n=2), 1.0)  # type: ignore[attr-defined]
    assert isinstance(model_config(plan, dataset(48, 64, n=2)), GANConfig)


def test_an_option_overrides_its_part_of_the_preset() -> None:
    plan, reasons = decide(
        settled(Train(latent=7, lr=0.5, batch_size=4, cooldown=0.2, gamma=0.0, gamma_last=0.5)), dataset(), 1e12
    )
    assert (plan.latent, plan.lr, plan.batch_size, plan.cooldown, plan.gamma, plan.gamma_last) == (7, 0.5, 4, 0.2, 0.0, 0.5)
    assert model_config(plan, dataset()).latent == 7
    assert reasons == []


def test_few_pictures_give_a_warning_and_at_most_one_batch() -> None:
    plan, reasons = decide(settled(Train()), dataset(n=5), 1e12)
    assert plan.batch_size == 5
    assert len(reasons) == 1 and reasons[0].startswith("only 5 training pictures")


def test_large_pictures_come_with_an_expectation_unless_many_are_seen() -> None:
    def told(side: int, steps: int) -> str | None:
        data = dataset(side, 24, n=8)
        plan, _ = decide(settled(Train(preset="nano", batch_size=4, steps=steps)), data, 1.0)
        return GANLearner(plan, data, torch.device("cpu")).expectation(plan)

    assert told(96, 50) is not None and str(told(96, 50)).startswith(
        "about 200 pictures will be seen, which is little for 24×96"
    )
    assert told(95, 50) is None and told(96, 100_000) is None


@pytest.mark.parametrize(("text", "strength"), [("auto", None), ("off", 0.0), ("0", 0.0), ("0.3", 0.3)])
def test_the_strength_of_augmentation_is_parsed(text: str, strength: float | None) -> None:
    assert fixed_strength(text) == strength


@pytest.mark.parametrize("text", ["on", "-0.1", "0.9", "nan", ""])
def test_augmentation_that_is_none(text: str) -> None:
    with pytest.raises(RequestError, match=r"--augment must be auto, off or a number from 0 to 0\.8, not "):
        decide(settled(Train(augment=text)), dataset(), 1e12)


# Schedules


def plan(steps: int, cooldown: float = 1.0, warmup: int = 0) -> Plan:
    options = TrainOptions(steps=steps, cooldown=cooldown, warmup=warmup)
    return Plan.of(settled(options), batch_size=1, lr=1.0)


def test_everything_goes_from_its_first_value_to_its_last_by_half_a_cosine() -> None:
    whole = plan(100)
    assert (lr_factor(0, whole), gamma_factor(0, whole, 0.2), betas(0, whole)) == (1.0, 1.0, (0.0, BETA2[0]))
    assert lr_factor(100, whole) == pytest.approx(LAST_LR)
    assert gamma_factor(100, whole, 0.2) == pytest.approx(0.2)
    assert betas(100, whole) == (0.0, pytest.approx(BETA2[1]))
    assert lr_factor(50, whole) == pytest.approx((1 + LAST_LR) / 2)
    assert gamma_factor(50, whole, 0.2) == pytest.approx(math.sqrt(0.2))
    assert {gamma_factor(step, whole, 1.0) for step in range(100)} == {1.0}


def test_nothing_changes_before_the_cool_down_but_for_the_warm_up() -> None:
    late = plan(100, cooldown=0.25, warmup=9)
    assert lr_factor(0, late) == pytest.approx(0.1)
    assert {lr_factor(step, late) for step in range(9, 76)} == {1.0}
    assert {betas(step, late) for step in range(76)} == {(0.0, BETA2[0])}
    assert lr_factor(76, late) < 1 and gamma_factor(76, late, 0.2) < 1


# Seeds


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("7", [7]), ("1-3", [1, 2, 3]), ("3,7,20-21", [3, 7, 20, 21]), (" 1 , 5-5", [1, 5])],
)
def test_seeds_in_ranges(text: str, seeds: list[int]) -> None:
    options = Sample(seeds=text)
    assert options.expected() == len(seeds)
    assert [options.seed_of(position) for position in range(len(seeds))] == seeds
    assert [options.stem(position) for position in range(len(seeds))] == [f"seed-{seed}-000000" for seed in seeds]


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "1,,2", "1.5", "1-2-3", str(2**63)])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match="--seeds"):
        parse_seeds(text, "--seeds")


def test_a_picture_has_the_same_name_with_any_options() -> None:
    assert Sample(seed=3).stem(0) == Sample(seeds="1-9").stem(2)


def test_ways_of_naming_seeds_exclude_one_another() -> None:
    for options in (
        {"seed": 4, "seeds": "1-3"},
        {"seeds": "1-3", "interpolate": ("1", "2")},
        {"seed": 4, "interpolate": ("1", "2")},
    ):
        with pytest.raises(RequestError, match="can't be used together"):
            Sample(**options)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="--interpolate takes two seeds, not 1-2 4"):
        Sample(interpolate=("1-2", "4"))


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_the_way_between_two_latents_keeps_to_their_lengths_and_their_plane(seed: int, share: float) -> None:
    a, b = torch.randn(2, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    point = between(a, b, share)
    assert float(point.norm()) == pytest.approx(float(torch.lerp(a.norm(), b.norm(), share)))
    angles = [math.acos(max(-1.0, min(1.0, float(x @ point / x.norm() / point.norm())))) for x in (a, b)]
    whole = math.acos(float(a @ b / a.norm() / b.norm()))
    assert angles == pytest.approx([share * whole, (1 - share) * whole], abs=1e-6)


def test_the_way_between_a_latent_and_itself_stays_there() -> None:
    a = torch.randn(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(between(a, a.clone(), 0.3), a)


# Health

REPORT = {"event": "trained", "step": 1, "discriminator_loss": 0.6, "generator_grad_norm": 1.0}
LOOK = {
    "event": "evaluated", "step": 1, "kd_random": 1.0, "kd_error": 0.1, "spread": 0.9, "margin_train": 1.0,
    "margin_held_out": 0.9, "augmentation": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("history", "names"),
    [
        ([], []),
        ([REPORT] * 5 + [LOOK] * 3, []),
        ([LOOK, {**LOOK, "step": 300, "spread": 0.1}], ["collapse"]),
        ([LOOK, {**LOOK, "step": 299, "spread": 0.1}], []),
        ([{**LOOK, "spread": 0.1}, LOOK], []),
        ([{**LOOK, "spread": 0.1}], []),
        ([{**LOOK, "margin_held_out": 0.1}] * 2, ["overfitting"]),
        ([LOOK, {**LOOK, "margin_held_out": 0.1}], []),
        ([{**REPORT, "generator_grad_norm": 0.0}] * 3 + [LOOK], ["frozen"]),
        ([{**REPORT, "discriminator_loss": 0.001}] * 3 + [LOOK], ["won"]),
        ([{**REPORT, "discriminator_loss": 0.001}] * 2 + [REPORT, LOOK], []),
    ],
)
def test_what_looks_wrong(history: list[dict[str, object]], names: list[str]) -> None:
    assert list(concerns(history, adapting=True)) == names


def test_the_remedy_for_overfitting_is_one_that_is_not_in_use() -> None:
    history = [{**LOOK, "margin_held_out": 0.1}] * 2
    assert "augmentation is being increased" in concerns(history, adapting=True)["overfitting"].text
    assert "--augment auto" in concerns(history, adapting=False)["overfitting"].text


@pytest.mark.parametrize(
    ("distances", "words"),
    [((3.0, 2.0, 1.0), "more --minutes"), ((3.0, 1.0, 2.0), "closest to held-out pictures at step 1"), ((2.0, 1.0, 1.05), "")],
)
def test_how_it_ended(distances: tuple[float, ...], words: str) -> None:
    lines = outlook([{**LOOK, "step": step, "kd_random": distance} for step, distance in enumerate(distances)])
    assert len(lines) == bool(words) and words in "".join(lines)
