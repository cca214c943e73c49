"""What pictures are compared by: that features tell apart what a person does, and depend on the picture alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aigc_cli.errors import RequestError
from aigc_cli.metrics.pictures.features import EXTRACTORS, LabelFeatures, make_extractor
from aigc_cli.metrics.pictures.frechet import frechet
from aigc_cli.metrics.statistics.bootstrap import Measure

pytestmark = pytest.mark.usefixtures("one_thread")
OWN = [name for name in EXTRACTORS if name != "inception"]  # which reads a file: test_metrics_inception


def discs(n: int, height: int = 16, width: int = 16, channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dark discs on light paper, in the left half (class 0) or in the right (class 1)."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(2, size=n)
    x = (draw.uniform(0.2, 0.4, n) + 0.4 * labels) * width
    y, radius = draw.uniform(0.3, 0.7, n) * height, draw.uniform(0.1, 0.25, n) * min(height, width)
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(columns - x[:, None, None], rows - y[:, None, None])
    inside = np.clip(radius[:, None, None] - distance + 0.5, 0, 1)  # how much of a pixel is, about
    return np.repeat((220 - 180 * inside).astype(np.uint8)[..., None], channels, axis=3), labels


def blurred(pixels: np.ndarray) -> np.ndarray:
    padded = np.pad(pixels.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = pixels.shape[1:3]
    return np.mean([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0).astype(np.uint8)


@pytest.mark.parametrize("name", ["random", "pixels"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (48, 64, 4), (20, 33, 3), (5, 7, 3), (1, 1, 1)])
def test_features_of_a_picture_are_its_own(name: str, shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, *shape), dtype=np.uint8)
    extractor = make_extractor(name, pixels)
    together = extractor(pixels)
    assert together.shape == (70, extractor.about["dimensions"]) and together.dtype == np.float32
    assert together.shape[1] <= 768 and extractor.name == extractor.about["features"] == name
    assert np.isfinite(together).all()
    assert np.array_equal(together, make_extractor(name, pixels)(pixels))
    apart = np.concatenate([extractor(pixels[start : start + 9]) for start in range(0, 70, 9)])
    assert np.allclose(apart, together, atol=2e-4)
    assert np.allclose(extractor(pixels[::-1])[::-1], together, atol=2e-4)


def test_random_features_are_centred_and_scaled_and_the_same_whatever_the_seed() -> None:
    pixels, _ = discs(300, channels=3)
    found = make_extractor("random", pixels, seed=1)(pixels).astype(np.float64)
    assert np.array_equal(found, make_extractor("random", pixels, seed=2)(pixels))
    assert np.allclose(found.mean(0), 0, atol=1e-3)
    assert (found.std(0) < 1.001).all() and np.median(found.std(0)) == pytest.approx(1, abs=1e-3)


def test_what_never_varies_in_training_has_finite_features() -> None:
    white = np.full((10, 8, 8, 3), 255, np.uint8)
    found = make_extractor("random", white)
    assert not found(white).any()
    assert np.isfinite(found(255 - white)).all() and found(255 - white).any()


@pytest.mark.parametrize("name", ["random", "pixels"])
def test_distances_order_pictures_as_a_person_would(name: str) -> None:
    train, held_out = discs(600, seed=0)[0], discs(600, seed=1)[0]
    extractor = make_extractor(name, train)
    draw = np.random.default_rng(2)
    noise = draw.integers(0, 256, train.shape, dtype=np.uint8)
    grainy = np.clip(train + draw.normal(0, 20, train.shape), 0, 255).astype(np.uint8)
    floor, blurs, grain, far = (
        frechet(extractor(pixels), extractor(held_out)).value for pixels in (train, blurred(train), grainy, noise)
    )
    assert floor < blurs < far and floor < grain < far
    if name == "random":
        assert blurs > 10 * floor and grain > 10 * floor


def test_pixels_are_the_means_of_boxes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    boxes = pixels.reshape(3, 16, 2, 16, 3, 3).mean((2, 4)) / 127.5 - 1
    assert np.allclose(make_extractor("pixels", pixels)(pixels), boxes.transpose(0, 3, 1, 2).reshape(3, -1), atol=1e-5)


def test_labels_learn_the_classes_and_say_how_well() -> None:
    pixels, labels = discs(400)
    numbers = np.where(np.arange(400) % 10 == 0, -1, labels)
    before = torch.get_rng_state()
    with torch.inference_mode():
        extractor = make_extractor("labels", pixels, numbers, 2)
    assert torch.equal(before, torch.get_rng_state())
    accuracy = extractor.about["accuracy"]
    assert isinstance(accuracy, Measure) and accuracy.n == 36 and accuracy.value > 0.9
    assert isinstance(extractor, LabelFeatures)
    others, truth = discs(200, seed=5)
    features = extractor(others)
    assert features.shape == (200, 64) and (extractor.classes(features) == truth).mean() > 0.95
    assert np.allclose(extractor(others[:3]), features[:3], atol=1e-4)
    again = make_extractor("labels", pixels, numbers, 2)
    assert np.array_equal(again(others), features)


def test_data_without_labels() -> None:
    pixels, labels = discs(50)
    for wrong in (None, np.full(50, -1), np.zeros(50, int), np.where(np.arange(50) < 19, labels, -1)):
        with pytest.raises(RequestError, match="at least 20 labelled pictures of at least two classes"):
            make_extractor("labels", pixels, wrong, 2)


def test_extractors_go_by_their_names() -> None:
    pixels, labels = discs(60)
    for name in OWN:
        assert make_extractor(name, pixels, labels, 2).name == name


def test_features_are_float32_whatever_is_autocast() -> None:
    pixels, labels = discs(60)
    for name in OWN:
        extractor = make_extractor(name, pixels, labels, 2)
        with torch.autocast("cpu", torch.bfloat16):
            assert np.array_equal(extractor(pixels), make_extractor(name, pixels, labels, 2)(pixels)), name
        assert extractor(pixels).dtype == np.float32
