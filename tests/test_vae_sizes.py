"""A VAE's plan: likelihood, levels and preset."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from conftest import settled
from hypothesis import given
from hypothesis import strategies as st

from aigc_cli.backends.pictures.networks import levels_for
from aigc_cli.backends.pictures.options import longest_side, prepare_dataset
from aigc_cli.backends.presets import preset_for
from aigc_cli.backends.vae.config import Train
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.backends.vae.presets import LATENT_MAP, PRESETS, SMALLEST, autoencoder_bytes, decide, model_config, picture_bytes
from aigc_cli.backends.vae.two_stage.presets import PRESETS as TWO_STAGES
from aigc_cli.backends.vae.two_stage.presets import decide_two_stages
from aigc_cli.data.pictures.dataset import PictureArrays, PictureDataset, PictureFormat
from aigc_cli.data.pictures.format import parse_size
from aigc_cli.engine.events import Bus
from aigc_cli.errors import RequestError
from aigc_cli.metrics.pictures.manifold import K


def dataset(height: int = 8, width: int = 8, *, two_valued: bool = False, n: int = 10) -> PictureDataset:
    pixels = np.zeros((n, height, width, 1), np.uint8)
    arrays = PictureArrays(pixels, np.arange(n), None, [str(i) for i in range(n)], {})
    return PictureDataset(
        train=arrays, select=arrays, report=arrays, format=PictureFormat(height, width, "L"), classes=(),
        two_valued=two_valued, explicit_val=False, info={}, notes=[], cached=True,
    )  # fmt: skip


@given(st.integers(1, 600), st.integers(1, 600))
def test_the_last_level_is_small_and_none_is_empty(height: int, width: int) -> None:
    plan, _ = decide(settled(Train(preset="nano")), dataset(4, 4), 1.0)
    assert levels_for(height, width, SMALLEST) >= 1
    config = model_config(plan, dataset(4, 4))
    levels = levels_for(height, width, SMALLEST)
    sides = [(-(-height // 2**level), -(-width // 2**level)) for level in range(1, levels + 1)]
    assert max(sides[-1]) <= SMALLEST and min(itertools.chain(*sides)) >= 1
    assert levels == 1 or max(sides[-2]) > SMALLEST
    assert isinstance(config, VAEConfig)


@given(st.floats(1, 1e20), st.floats(1, 1e20))
def test_more_budget_never_takes_a_smaller_preset(a: float, b: float) -> None:
    names = [preset.name for preset in PRESETS]
    few, many = (names.index(preset_for(PRESETS, flops).name) for flops in sorted((a, b)))
    assert few <= many


@pytest.mark.parametrize(
    ("options", "two_valued", "likelihood"),
    [
        (Train(), False, "logistics"),
        (Train(), True, "bernoulli"),
        (Train(binarise="dynamic"), False, "bernoulli"),
        (Train(likelihood="gaussian"), False, "gaussian"),
        (Train(likelihood="logistics"), True, "logistics"),
    ],
)
def test_the_likelihood_follows_the_data(options: Train, two_valued: bool, likelihood: str) -> None:
    plan, reasons = decide(settled(options), dataset(two_valued=two_valued), 1e12)
    assert plan.likelihood == likelihood == model_config(plan, dataset()).likelihood
    assert likelihood in reasons[0]


def test_an_option_overrides_its_part_of_the_preset() -> None:
    plan, _ = decide(settled(Train(latent=7, couplings=3, lr=0.5, batch_size=4, cooldown=0.2)), dataset(), 1e12)
    assert (plan.latent, plan.couplings, plan.lr, plan.batch_size, plan.cooldown) == (7, 3, 0.5, 4, 0.2)
    config = model_config(plan, dataset())
    assert (config.latent, config.couplings) == (7, 3)


def test_only_pictures_of_many_levels_have_a_map_of_latents() -> None:
    many, two = dataset(32, 32), dataset(32, 32, two_valued=True)
    assert decide(settled(Train()), many, 1e12)[0].latent_map == LATENT_MAP
    assert decide(settled(Train()), two, 1e12)[0].latent_map == 0
    assert decide(settled(Train(latent_map=3)), two, 1e12)[0].latent_map == 3
    assert model_config(decide(settled(Train(latent=7, latent_map=0)), many, 1e12)[0], many).latents == 7
    assert model_config(decide(settled(Train(latent=7, latent_map=2)), many, 1e12)[0], many).latents == 7 + 2 * 8 * 8


def test_batch_and_preset_follow_the_number_of_pixels() -> None:
    """At 32×32 and below they are the preset's own; four times the pixels have half the batch and a quarter of the budget."""
    for side, batch in ((8, 128), (28, 128), (32, 128), (64, 64), (128, 32), (256, 16)):
        assert decide(settled(Train(preset="nano")), dataset(side, side, n=200), 1e12)[0].batch_size == batch
    assert decide(settled(Train(batch_size=77)), dataset(256, 256, n=200), 1e12)[0].batch_size == 77
    budget = PRESETS[0].flops * 2
    chosen = [decide(settled(Train()), dataset(side, side), budget)[0].preset for side in (28, 32, 64)]
    assert chosen == ["micro", "micro", "nano"]


def test_a_step_takes_half_of_the_memory_that_is_left() -> None:
    data = dataset(64, 64, n=200)
    plan, reasons = decide(settled(Train(preset="nano")), data, 1e12, memory=10**9)
    assert plan.micro_batch_size == plan.batch_size == 64 and len(reasons) == 1
    plan, reasons = decide(settled(Train(preset="nano")), data, 1e12, memory=10**8)
    each = picture_bytes(64 * 64, PRESETS[0].width, PRESETS[0].blocks, 2 * 3)  # logits, means and scales of two logistics
    assert plan.batch_size == 64 and 0.25e8 < plan.micro_batch_size * each <= 0.5e8
    assert f"micro-batches of {plan.micro_batch_size}:" in reasons[-1] and "of the 100 MB of memory left" in reasons[-1]
    assert decide(settled(Train(preset="nano")), data, 1e12, memory=1)[0].micro_batch_size == 1
    assert decide(settled(Train(micro_batch_size=50)), data, 1e12, memory=1)[0].micro_batch_size == 50


def test_a_step_for_samples_leaves_room_for_the_discriminator() -> None:
    data = dataset(64, 64, n=200)
    asked = settled(Train(objective="samples", preset="nano"))
    plan, _ = decide_two_stages(asked, data, 1e12, memory=10**8)
    assert decide_two_stages(asked, data, 1e12, memory=10**9)[0].micro_batch_size == plan.batch_size
    preset = TWO_STAGES[0]
    without, of_all = (of(64 * 64, preset.width, preset.blocks, 3) for of in (picture_bytes, autoencoder_bytes))
    assert plan.micro_batch_size * without < plan.micro_batch_size * of_all <= 0.5e8


def test_a_batch_is_no_larger_than_the_data() -> None:
    assert decide(settled(Train()), dataset(n=5), 1e12)[0].batch_size == 5


def test_grey_levels_are_no_bernoulli_s() -> None:
    with pytest.raises(RequestError, match="--binarise dynamic"):
        decide(settled(Train(likelihood="bernoulli")), dataset(), 1e12)
    with pytest.raises(RequestError, match="remove --likelihood logistics"):
        decide(settled(Train(likelihood="logistics", binarise="dynamic")), dataset(), 1e12)


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("64x48", (48, 64)), ("64X48", (48, 64)), ("64×48", (48, 64))])
def test_a_size_is_width_and_height(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "64x", "big", "64x48x3", "6.4"])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(RequestError, match="--size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("device", "threads", "minutes", "side"),
    [
        ("cpu", 1, 10, 64),
        ("cpu", 4, 10, 64),
        ("cpu", 2, 240, 128),
        ("cpu", 64, 60, 128),
        ("cuda:1", 2, 1, 128),
        ("cuda", 2, 10, 256),
        ("mps", 8, 5, 64),
    ],
)
def test_the_longest_side_follows_the_budget(device: str, threads: int, minutes: float, side: int) -> None:
    options = Train(device=device, threads=threads, minutes=minutes)
    assert longest_side(options) == side


def test_the_longest_side_is_recorded_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large pictures are read in the same size from the plan, where the minutes are gone; a plan of an earlier version is 64."""
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    np.save(tmp_path / "large.npy", np.random.default_rng(0).integers(0, 256, (8, 150, 200), dtype=np.uint8))
    asked = Train(data=str(tmp_path / "large.npy"), device="cpu", threads=2, minutes=240)
    prepared = prepare_dataset(asked, Bus())
    assert prepared.arrays.format.size == (96, 128) and prepared.options.longest_side == 128
    assert any("--longest-side 128, by default from the minutes and the device" in note for note in prepared.notes)
    plan = dataclasses.replace(prepared.options, minutes=None)
    again = prepare_dataset(plan, Bus())
    assert again.arrays.format.size == (96, 128) and again.cached
    old = prepare_dataset(dataclasses.replace(plan, longest_side=None), Bus())
    assert old.arrays.format.size == (48, 64)


def test_plans_of_long_pictures_record_their_size_and_those_without_keep_the_longest_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    np.save(tmp_path / "long.npy", np.random.default_rng(0).integers(0, 256, (8, 60, 1200), dtype=np.uint8))
    asked = Train(data=str(tmp_path / "long.npy"), device="cpu", threads=2, steps=1)
    prepared = prepare_dataset(asked, Bus())
    assert (prepared.options.size, prepared.options.longest_side) == ("256x16", 64)
    told = "1200×60 made 256×16 (--fit crop; above --longest-side 64, to keep 16 pixels of the shorter side; "
    assert [note.startswith(told + "--fit pad keeps the ends") for note in prepared.notes if "made" in note] == [True]
    earlier = dataclasses.replace(prepared.options, size=None)
    for plan, size in ((prepared.options, (16, 256)), (earlier, (4, 64)), (asked, (16, 256)), (earlier, (4, 64))):
        again = prepare_dataset(plan, Bus())
        assert again.arrays.format.size == size
    assert again.cached and prepare_dataset(asked, Bus()).cached


@pytest.mark.parametrize(("n", "told"), [(30, True), (200, False)])
def test_too_few_held_out_pictures_for_eval_are_told_before_training(
    n: int, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What training says is what eval does."""
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8))
    prepared = prepare_dataset(Train(data=str(tmp_path / "a.npy"), device="cpu", threads=2, steps=1), Bus())
    train, held_out = len(prepared.arrays.train), len(prepared.arrays.report)
    note = (
        "aigc eval measures samples with at least 6 pictures to train on and 6 held out for it, and there are "
        f"{train} and {held_out}; give more with --val"
    )
    assert (held_out <= K) == told == (note in prepared.notes)
