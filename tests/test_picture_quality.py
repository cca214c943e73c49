"""The measures of samples, on copies, new pictures, noise and collapse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_metrics_features import blurred, discs

from aigc_cli.backends.base import Sample
from aigc_cli.backends.pictures import quality as picture_quality
from aigc_cli.backends.pictures.quality import QualityOptions, quality, stacked
from aigc_cli.data.pictures.dataset import PictureArrays
from aigc_cli.engine.events import Bus
from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = {"fd_random", "kd_random", "precision", "recall", "density", "coverage", "copies"}


def arrays(pixels: np.ndarray, labels: np.ndarray | None = None) -> PictureArrays:
    return PictureArrays(pixels, np.arange(len(pixels)), labels, [str(i) for i in range(len(pixels))], {})


TRAIN, HELD_OUT = (arrays(*discs(1200, seed=seed)) for seed in (0, 1))


def chunked(pixels: np.ndarray, size: int = 90) -> Iterator[np.ndarray]:
    return (pixels[start : start + size] for start in range(0, len(pixels), size))


def measured(
    pixels: np.ndarray, train: PictureArrays = TRAIN, held_out: PictureArrays = HELD_OUT, **options: object
) -> tuple[dict[str, Measure], list[str]]:
    asked = QualityOptions(**{"n": 600, **options})
    return quality(chunked(pixels), train, held_out, ("left", "right"), asked, seed=0, device=torch.device("cpu"), bus=Bus())


@pytest.mark.parametrize("features", ["random", "pixels"])
def test_training_pictures_new_ones_blurred_ones_and_noise(features: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 16, 16, 1), dtype=np.uint8)
    new = discs(600, seed=2)[0]
    copied, fresh, blurs, far = (
        measured(pixels, features=features)[0] for pixels in (TRAIN.take(range(600)), new, blurred(new), noise)
    )
    fd, kd = f"fd_{features}", f"kd_{features}"
    assert copied["copies"].value == 1
    for name in (fd, kd, "precision", "recall", "density", "coverage", "copies"):
        floor = fresh[name].extra["floor"]
        assert isinstance(floor, Measure) and floor.n == fresh[name].n == 600
        assert fresh[name].low - (floor.high - floor.low) <= floor.value <= fresh[name].high + (floor.high - floor.low), name
        assert fresh[name].extra["features"] == features
    assert fresh["copies"].value < 0.05
    assert far[fd].value > 20 * fresh[fd].value and far[kd].low > fresh[kd].high
    assert far["precision"].value == far["coverage"].value == far["copies"].value == 0
    if features == "random":
        assert blurs[fd].low > 5 * fresh[fd].high and blurs["precision"].high < fresh["precision"].low


def test_a_model_that_draws_one_picture_is_precise_and_covers_nothing() -> None:
    found, notes = measured(np.repeat(HELD_OUT.take([7]), 600, axis=0))
    assert not any("can't be told" in note for note in notes)
    assert any("few real pictures have a sample like them" in note for note in notes)
    assert found["precision"].value == 1 and found["recall"].value < 0.1 and found["coverage"].value < 0.1


def test_all_figures_are_of_one_n_and_no_more_is_drawn() -> None:
    drawn = []

    def samples() -> Iterator[np.ndarray]:
        for seed in range(10):
            drawn.append(seed)
            yield discs(100, seed=seed + 10)[0]

    found, notes = quality(samples(), TRAIN, HELD_OUT, (), QualityOptions(n=250), seed=0, device=torch.device("cpu"), bus=Bus())
    assert set(found) == NAMES and {measure.n for measure in found.values()} == {250} and drawn == [0, 1, 2]
    assert len(notes) == 1 and notes[0].startswith(
        "250 samples can't be told from real pictures by kd_random, which misses a lot"
    )
    few = arrays(HELD_OUT.take(range(130)))
    found, notes = measured(discs(600, seed=3)[0], held_out=few)
    assert {measure.n for measure in found.values()} == {130}
    assert notes[0] == "130 instead of 600 samples were measured: there are no more pictures to compare with"
    assert "fd_random and its floor are much too high, because 130 pictures are too few for 192 features" in notes[1]
    assert not any("say little" in note for note in notes)
    found, notes = measured(discs(50, seed=3)[0])  # fewer samples than were asked for
    assert "with under 100 pictures, precision, recall, density, coverage and copies say little" in notes
    assert {measure.n for measure in found.values()} == {50}


def test_no_samples_and_too_few_pictures() -> None:
    assert measured(HELD_OUT.take(range(9)), n=0) == ({}, [])
    found, notes = measured(HELD_OUT.take(range(9)), held_out=arrays(HELD_OUT.take(range(5))))
    few = "6 training and 6 held-out pictures, and there are 1,200 and 5"
    assert not found and notes == [f"samples are not measured: that needs at least {few}; evaluate on more with --data"]
    found, notes = measured(HELD_OUT.take(range(5)))
    assert not found and notes == ["samples are not measured: that needs at least 6 of them"]


def test_the_same_samples_have_the_same_figures() -> None:
    pixels = discs(100, seed=4)[0]
    assert measured(pixels) == measured(pixels)


def test_features_of_the_labels_tell_the_shares_of_classes() -> None:
    pixels, labels = discs(800, seed=6)
    found, _ = measured(pixels[labels == 0][:300], features="labels")
    shares = found["class_shares"]
    assert shares.extra["shares"]["left"] > 0.9 and shares.extra["held_out"]["left"] == pytest.approx(0.5, abs=0.1)
    assert shares.value == pytest.approx(0.5, abs=0.1) and shares.extra["floor"].value < 0.15
    assert found["fd_labels"].extra["accuracy"].value > 0.9
    assert found["fd_labels"].low > found["fd_labels"].extra["floor"].high
    assert isinstance(found["fd_labels"].to_json()["accuracy"]["value"], float)
    score = found["inception_score"]
    assert score.value < 1.3 and score.extra["floor"].value > 1.7 and score.n == 300


def test_what_is_heard_is_silent_or_too_loud() -> None:
    """With sounds, the classifier of the labels is there with other features too."""
    pixels = discs(300, seed=8)[0]
    pixels[:60] = 0
    pixels[60:100] //= 2
    train, held_out = (arrays(some.take(range(300)), some.labels[:300]) for some in (TRAIN, HELD_OUT))
    loudest = int(pixels[60:100].max())

    def heard(picture: np.ndarray) -> np.ndarray:
        return (picture.reshape(-1, 1) / loudest).astype(np.float32)

    options = QualityOptions(n=300)
    found, _ = quality(
        [pixels], train, held_out, ("left", "right"), options, seed=0, device=torch.device("cpu"), bus=Bus(), heard=heard
    )
    assert set(found) == NAMES | {"silent", "clipped", "inception_score"}
    assert found["silent"].value == pytest.approx(60 / 300) and found["silent"].extra["floor"].value == 0
    assert found["clipped"].value == pytest.approx(200 / 300) and found["clipped"].extra["floor"].value == 1
    score = found["inception_score"]
    assert 1 < score.value < score.extra["floor"].value and score.extra["accuracy"].value > 0.9


def test_the_sheet_shows_the_closest_samples_with_their_training_pictures(tmp_path: Path) -> None:
    samples = np.concatenate([discs(200, seed=7)[0], TRAIN.take([40, 41, 42])])
    path = tmp_path / "nearest.png"
    measured(samples, copies=str(path))
    drawn = np.asarray(Image.open(path))
    side = 6 * 16  # enlarged
    assert drawn.shape == (8 * (side + 2) - 2, 8 * (side + 2) - 2)
    first = [drawn[:side:6, left : left + side : 6] for left in range(0, 8 * (side + 2), side + 2)]
    exact = {TRAIN.take([i]).tobytes() for i in (40, 41, 42)}
    assert {picture.tobytes() for picture in first[:6]} == exact
    for sample, original in (first[0:2], first[2:4], first[4:6]):
        assert np.array_equal(sample, original)
    with pytest.raises(RequestError, match="exists; add --force"):
        measured(samples, copies=str(path))
    measured(samples[:50], copies=str(path), force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["nearest.png"]


def test_an_invalid_sheet_or_features_are_refused_before_sampling(tmp_path: Path) -> None:
    def samples() -> Iterator[np.ndarray]:
        raise AssertionError("drawn")
        yield

    unlabelled = arrays(TRAIN.take(range(100)))
    for options, words in (
        ({"copies": str(tmp_path / "sheet.gif")}, "the sheet must be a .png file"),
        ({"copies": str(tmp_path / "no" / "sheet.png")}, "in an existing folder"),
        ({"features": "labels"}, r"--features labels: .* 20 labelled pictures .*; use --features random"),
        ({"n": 0, "copies": str(tmp_path / "sheet.png")}, "remove -n 0"),
    ):
        with pytest.raises(RequestError, match=words):
            quality(
                samples(), unlabelled, HELD_OUT, (), QualityOptions(**options), seed=0, device=torch.device("cpu"), bus=Bus()
            )


def test_thinned_training_pictures_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_quality, "MAX_TRAINING", 300)
    found, notes = measured(TRAIN.take(range(600)), n=300)
    assert found["copies"].extra["training"] == 300
    assert 0.1 < found["copies"].value < 0.5  # a quarter of the copies are of the pictures that are searched
    assert notes[0] == "copies were searched for among 300 randomly chosen ones of the 1,200 training pictures"


def test_samples_are_stacked_in_order() -> None:
    drawn = (Sample({"index": i}, content=np.full((2, 2, 1), i % 256, np.uint8)) for i in range(1200))
    chunks = list(stacked(drawn))
    assert [len(chunk) for chunk in chunks] == [500, 500, 200]
    assert np.array_equal(np.concatenate(chunks)[:, 0, 0, 0], np.arange(1200) % 256)
