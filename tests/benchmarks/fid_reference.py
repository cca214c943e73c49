"""FID and KID against torch-fidelity, clean-fid and torchvision, with random weights in the same architecture.

    pip install torch-fidelity clean-fid
    python tests/benchmarks/fid_reference.py [--pictures 300] [--weights FILE.safetensors]

Compared are the features of one network (largest difference, relative to their root mean square), pictures resized to 299×299
(largest difference of levels), and both distances between two sets of pictures. torch-fidelity resizes in another way, so it gets
pictures that are 299×299 already. With --weights, the network is that of a file instead, such as FID's own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from cleanfid.resize import build_resizer
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torchvision.models import inception_v3

from aigc_cli.metrics.pictures.features import make_extractor
from aigc_cli.metrics.pictures.frechet import frechet_distance
from aigc_cli.metrics.pictures.inception import SIDE
from aigc_cli.metrics.pictures.inception_features import resized
from aigc_cli.metrics.pictures.kernel_distance import kernel_distance

SIZES = ((28, 28, 1), (32, 32, 3), (64, 48, 3), (299, 299, 3), (500, 400, 3))


def random_weights(network: nn.Module) -> dict[str, Tensor]:
    """He et al.'s initialisation, and statistics of batches that are not those of its activations."""
    draw = torch.Generator().manual_seed(0)
    found = {}
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            found[name] = torch.randn(tensor.shape, generator=draw) * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            found[name] = torch.rand(tensor.shape, generator=draw) + 0.5
        elif tensor.is_floating_point():
            found[name] = torch.randn(tensor.shape, generator=draw) / 5
    return found


def pictures(n: int, size: tuple[int, int, int], seed: int) -> NDArray[np.uint8]:
    """Waves of one to ten periods, with noise."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]] / max(size)
    found = np.empty((n, *size), np.uint8)
    for picture in found:
        angles = (
            2 * np.pi * (rows[..., None] * draw.uniform(0, 10, size[2]) + columns[..., None] * draw.uniform(0, 10, size[2]))
        )
        levels = draw.uniform(60, 190) + 60 * np.sin(angles + draw.uniform(0, 6)) + draw.normal(0, 5 * seed + 5, size)
        picture[:] = levels.clip(0, 255)
    return found


@torch.inference_mode()
def in_batches(network: nn.Module, x: Tensor) -> NDArray[np.float32]:
    outputs = (network(some) for some in x.split(16))
    return torch.cat([out[0] if isinstance(out, tuple) else out for out in outputs]).numpy()


def compare(name: str, ours: NDArray[np.float32], theirs: NDArray[np.float32], scale: float = 1.0) -> None:
    print(f"{name:48} largest difference {np.abs(ours - theirs).max() / scale:.2g}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300, help="in each of two sets")
    parser.add_argument("--weights", type=Path, help="of FID's network, as safetensors")
    arguments = parser.parse_args()

    resizer = build_resizer("clean")
    for size in SIZES:
        picture = pictures(1, size, 1)[0]
        compare(f"resizing {size}, clean-fid", resized(picture), resizer(np.repeat(picture, 4 - size[2], 2)[..., :3]))

    n = arguments.pictures
    sets = [pictures(n, (SIDE, SIDE, 3), seed) for seed in (0, 1)]
    tensors = [torch.from_numpy(some).permute(0, 3, 1, 2).contiguous() for some in sets]
    with tempfile.TemporaryDirectory() as name:
        file, pickled = Path(name) / "weights.safetensors", Path(name) / "weights.pth"
        torchvisions = inception_v3(weights=None, init_weights=False)
        save_file(random_weights(torchvisions), file)
        torchvisions.load_state_dict(load_file(file), strict=False)
        torchvisions.fc = nn.Identity()
        theirs = in_batches(torchvisions.eval(), tensors[0][:32] / 127.5 - 1)
        compare(
            "features, torchvision", make_extractor(f"inception:{file}", sets[0])(sets[0][:32]), theirs, theirs.std().item()
        )

        weights = random_weights(inception_v3(weights=None, init_weights=False, aux_logits=False, num_classes=1008))
        if arguments.weights is not None:
            weights = load_file(arguments.weights)
        save_file(weights, file)
        torch.save(weights, pickled)
        reference = FeatureExtractorInceptionV3("reference", ["2048"], str(pickled))
        extractor = make_extractor(f"inception:{file}", sets[0])
    ours = [extractor(some) for some in sets]
    others = [in_batches(reference, some) for some in tensors]
    for ours_, theirs in zip(ours, others, strict=True):
        compare("features, torch-fidelity", ours_, theirs, float(np.sqrt((theirs**2).mean())))

    statistics = [fid_features_to_statistics(torch.from_numpy(some)) for some in others]
    fid = frechet_distance(*(moment for some in ours for moment in (some.mean(0), np.cov(some, rowvar=False))))
    value = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    print(f"FID, n = {n:,}: ours {fid:.7g}, torch-fidelity's {value:.7g}: {fid / value - 1:+.1g}", flush=True)
    kid, subset = kernel_distance(*ours).value, {"kid_subsets": 1, "kid_subset_size": n, "verbose": False}
    value = kid_features_to_metric(*map(torch.from_numpy, others), **subset)[KEY_METRIC_KID_MEAN]
    print(f"KID, n = {n:,}: ours {kid:.7g}, torch-fidelity's {value:.7g}: {kid / value - 1:+.1g}")


if __name__ == "__main__":
    main()
