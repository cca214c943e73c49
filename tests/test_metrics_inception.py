"""FID's features: the network, its file, and how pictures become its input."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from test_metrics_features import discs

from aigc_cli.backends.pictures import quality as picture_quality
from aigc_cli.backends.pictures.quality import QualityOptions, quality
from aigc_cli.data.pictures.dataset import PictureArrays
from aigc_cli.engine.events import Bus
from aigc_cli.errors import RequestError
from aigc_cli.metrics.pictures import features as picture_features
from aigc_cli.metrics.pictures.features import make_extractor
from aigc_cli.metrics.pictures.inception import Inception, load_inception
from aigc_cli.metrics.pictures.inception_features import on_white, resized

pytestmark = pytest.mark.usefixtures("one_thread")


def scattered(shape: tuple[int, ...], first: int) -> torch.Tensor:
    """Numbers from −1 to 1 without a pattern, the same everywhere: a hash of their places, from `first`."""
    x = np.arange(first, first + math.prod(shape), dtype=np.uint32)
    for _ in range(2):
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x45D9F3B)
    x ^= x >> np.uint32(16)
    return torch.from_numpy((x.astype(np.float32) / 2**31 - 1).reshape(shape))


def weights(of_fid: bool) -> dict[str, torch.Tensor]:
    """Weights for which activations neither vanish nor explode."""
    with torch.device("meta"):
        network = Inception(of_fid=of_fid)
    found, first = {"fc.weight": torch.zeros(1008 if of_fid else 1000, 2048)}, 0
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        numbers = scattered(tuple(tensor.shape), first)
        first += tensor.numel()
        if tensor.ndim > 1:
            found[name] = numbers * math.sqrt(6 / tensor[0].numel())
        else:
            found[name] = 1 + numbers / 2 if name.endswith(("running_var", "bn.weight")) else numbers / 4
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("inception") / "fid.safetensors"
    save_file(weights(True), path)
    yield path
    path.unlink()  # 95 MB


PICTURE = np.stack([discs(1, 299, 299, seed=seed)[0][0, :, :, 0] for seed in (1, 2, 3)], axis=2)


def test_features_are_those_of_the_reference_implementation(file: Path) -> None:
    """torch-fidelity 0.4.0 gave these numbers for the same weights and picture."""
    extractor = make_extractor(f"inception:{file}", PICTURE[None])
    found = extractor(PICTURE[None])
    assert found.shape == (1, 2048) and found.dtype == np.float32
    assert extractor.name == "inception" and extractor.distances == ("fid", "kid")
    expected = [0.523949, 13.415709, 3.85015, 2.995494, 2.240549, 1.772654, 3.17166, 3.002211]
    assert np.allclose(found[0, ::256], expected, atol=1e-4)
    assert found.mean() == pytest.approx(3.5212493, abs=1e-5) and found.std() == pytest.approx(4.9339194, abs=1e-5)
    sizes = [
        load_inception(file).state_dict()[name].shape
        for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.bias")
    ]
    assert sizes == [(32, 3, 3, 3), (192,)]  # the normalisation is in the convolution
    together = extractor(np.stack([255 - PICTURE, PICTURE]))
    assert np.allclose(together[1], found[0], atol=1e-4) and not np.allclose(together[0], found[0], atol=1e-2)


def test_the_number_of_parameters_is_the_known_one() -> None:
    """Keras counts 23,851,784 with running statistics, without scales, and with a classifier for 1,000 classes."""
    with torch.device("meta"):
        network = Inception(of_fid=False)
    parts = {name: tensor.numel() for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    scales = sum(count for name, count in parts.items() if name.endswith("bn.weight"))
    assert sum(parts.values()) - scales + 2048 * 1000 + 1000 == 23_851_784


def test_means_beside_the_edge_and_maxima_in_the_last_block() -> None:
    """Where the FID's network and torchvision's differ, on maps of ones with a two in the middle."""
    x = torch.ones(1, 8, 5, 5)
    x[:, :, 2, 2] = 2
    with torch.device("meta"):
        networks = [Inception(of_fid=of_fid) for of_fid in (True, False)]
    fid, other = ([network.Mixed_5b.pool(x)[0, 0], network.Mixed_7c.pool(x)[0, 0]] for network in networks)
    assert fid[0][0, 0] == 1 and other[0][0, 0] == pytest.approx(4 / 9)
    assert fid[0][2, 2] == other[0][2, 2] == pytest.approx(10 / 9)
    assert fid[1][2, 2] == 2 and fid[1][0, 0] == 1 and torch.equal(other[1], other[0])


def torchs_resizing(picture: np.ndarray) -> np.ndarray:
    """Bicubic with a = −1/2 and a filter as wide as the reduction, as Pillow has it, but by PyTorch."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    x = F.interpolate(x, (299, 299), mode="bicubic", antialias=True, align_corners=False)
    return x.clamp(0, 255)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("shape", [(28, 28, 3), (48, 64, 3), (400, 310, 3), (299, 299, 3)])
def test_pictures_are_resized_as_floating_point_numbers(shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = resized(picture)
    assert found.shape == (299, 299, 3) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 255
    assert np.allclose(found, torchs_resizing(picture), atol=0.01)
    if shape == (299, 299, 3):
        assert np.array_equal(found, picture)
    else:
        assert (found % 1 > 0.01).mean() > 0.5  # not rounded again


def test_grey_is_repeated_and_transparency_is_laid_on_white() -> None:
    grey = discs(1, 20, 20)[0][0]
    assert np.array_equal(resized(grey), resized(np.repeat(grey, 3, axis=2)))
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    clear[1, 1] = (0, 100, 200, 51)
    assert on_white(clear).tolist() == [[[10, 20, 30], [255] * 3], [[255] * 3, [204, 224, 244]]]
    assert (resized(np.zeros((9, 9, 4), np.uint8)) == 255).all()


def test_files_that_are_not_the_network(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"

    def told(content: bytes | dict[str, torch.Tensor]) -> str:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            save_file(content, path)
        with pytest.raises(RequestError) as caught:
            load_inception(path)
        assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))
        return str(caught.value)[len(str(path)) :]

    classifier = {"fc.weight": torch.zeros(1008, 2048, dtype=torch.float16)}
    with pytest.raises(RequestError, match="no such file"):
        load_inception(path)
    assert told(b"hello, these are no weights").startswith(" is not a safetensors file")
    assert told({"weight": torch.zeros(3)}) == " does not hold the weights of Inception-v3: no fc.weight"
    assert (
        told({"fc.weight": torch.zeros(10, 5)})
        == " does not hold the weights of Inception-v3: 10 logits, expected 1008 or 1000"
    )
    assert told(classifier).endswith(": no Conv2d_1a_3x3.conv.weight")
    whole = path.read_bytes()
    assert told(whole[: len(whole) // 2]).startswith(" is not a safetensors file")
    first = {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 4)}
    assert told(classifier | first).endswith("conv.weight has the shape (32, 3, 3, 4), expected (32, 3, 3, 3)")
    torch.save(first, path)
    assert told(path.read_bytes()).startswith(" is not a safetensors file")  # a pickle, which is not opened


def test_weights_that_are_not_finite_and_names_that_are_too_many(file: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    path, known = tmp_path / "weights.safetensors", load_file(file)
    save_file(known | {"Mixed_8a.conv.weight": torch.zeros(1)}, path)
    with pytest.raises(RequestError, match=r"Inception-v3: unexpected Mixed_8a\.conv\.weight"):
        load_inception(path)
    known["Mixed_5b.branch_pool.bn.bias"][3] = math.nan
    save_file(known, path)
    with pytest.raises(RequestError, match=r"Mixed_5b\.branch_pool\.bn\.bias has numbers that are not finite"):
        load_inception(path)
    path.unlink()


class Levels:
    """Features that take long, as far as one is told: the mean of each channel."""

    name, distances, slow, about = "inception", ("fid", "kid"), True, {"features": "inception", "dimensions": 3}

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.asked.append(len(pixels))
        return pixels.mean((1, 2)).astype(np.float32)


def measured(n: int, features: str) -> tuple[dict, list[str]]:
    train, held_out, samples = (discs(count, 8, 8, 3, seed=count)[0] for count in (400, 150, 120))
    arrays = [PictureArrays(pixels, np.arange(len(pixels)), None, [], {}) for pixels in (train, held_out)]
    options = QualityOptions(n=n, features=features)
    return quality([samples], *arrays, (), options, seed=0, device=torch.device("cpu"), bus=Bus())


def test_fid_and_kid_have_floors_and_slow_features_are_of_no_more_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = Levels()
    found_by = {"inception": lambda file, *_: levels if file == Path("a:b") else None}
    monkeypatch.setattr(picture_features, "EXTRACTORS", found_by)
    found, notes = measured(100, "inception:a:b")
    assert {"fid", "kid", "precision", "copies"} < set(found) and not any(name.startswith(("fd_", "kd_")) for name in found)
    for name in ("fid", "kid"):
        assert found[name].n == found[name].extra["floor"].n == 100 and found[name].low < found[name].value < found[name].high
    assert sum(levels.asked) == 300 and max(levels.asked) == picture_quality.AT_ONCE_SLOWLY
    assert found["copies"].extra["training"] == 100
    assert "copies were searched for among 100 randomly chosen ones of the 400 training pictures" in notes


def test_the_option_names_the_features_and_the_file() -> None:
    for wrong, words in (
        ("inception", "needs the file of its weights: inception:FILE.safetensors"),
        ("inception:", "needs the file"),
        ("labels:x", "must be one of random, pixels, labels or inception:FILE, not 'labels:x'"),
        ("pixel", "did you mean 'pixels'"),
    ):
        with pytest.raises(RequestError, match=words):
            QualityOptions(features=wrong)
    with pytest.raises(RequestError, match=r"--features inception: .*nowhere\.safetensors: no such file$"):
        measured(100, "inception:nowhere.safetensors")
