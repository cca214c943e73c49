"""Inception-v3, as far as the 2,048 features that FID and KID are defined by.

Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision". Layers have torchvision's names, which
pytorch-fid and torch-fidelity have kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from aigc_cli.errors import RequestError
from aigc_cli.files import in_utf8

SIDE, DIMENSIONS = 299, 2048
_LOGITS = {1008: True, 1000: False}  # whether a network with so many is FID's
#: Beside the features: counters, the classifiers, and what is only for training.
_UNUSED = ("num_batches_tracked", "fc.bias", "AuxLogits")


class Convolution(nn.Module):
    """A convolution, batch normalisation (ε = 0.001) and a ReLU. It is padded to keep the size, unless it is `bare`."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: int = 1, *, bare: bool = False) -> None:
        super().__init__()
        padding = (0, 0) if bare else (size[0] // 2, size[1] // 2)
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fuse(self) -> None:
        """Move the normalisation into the convolution."""
        assert isinstance(self.bn, nn.BatchNorm2d)
        self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


ONE, THREE, FIVE, WIDE, HIGH = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


class InceptionA(nn.Module):
    """35 × 35 places."""

    def __init__(self, inputs: int, pooled: int, pool: nn.Module) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, ONE)
        self.branch5x5_1 = Convolution(inputs, 48, ONE)
        self.branch5x5_2 = Convolution(48, 64, FIVE)
        self.branch3x3dbl_1 = Convolution(inputs, 64, ONE)
        self.branch3x3dbl_2 = Convolution(64, 96, THREE)
        self.branch3x3dbl_3 = Convolution(96, 96, THREE)
        self.pool, self.branch_pool = pool, Convolution(inputs, pooled, ONE)

    def forward(self, x: Tensor) -> Tensor:
        of_five = self.branch5x5_2(self.branch5x5_1(x))
        of_three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), of_five, of_three, self.branch_pool(self.pool(x))], 1)


class InceptionB(nn.Module):
    """From 35 × 35 to 17 × 17 places."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, THREE, 2, bare=True)
        self.branch3x3dbl_1 = Convolution(inputs, 64, ONE)
        self.branch3x3dbl_2 = Convolution(64, 96, THREE)
        self.branch3x3dbl_3 = Convolution(96, 96, THREE, 2, bare=True)

    def forward(self, x: Tensor) -> Tensor:
        of_three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), of_three, F.max_pool2d(x, 3, 2)], 1)


class InceptionC(nn.Module):
    """17 × 17 places."""

    def __init__(self, inputs: int, width: int, pool: nn.Module) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 192, ONE)
        self.branch7x7_1 = Convolution(inputs, width, ONE)
        self.branch7x7_2 = Convolution(width, width, WIDE)
        self.branch7x7_3 = Convolution(width, 192, HIGH)
        self.branch7x7dbl_1 = Convolution(inputs, width, ONE)
        self.branch7x7dbl_2 = Convolution(width, width, HIGH)
        self.branch7x7dbl_3 = Convolution(width, width, WIDE)
        self.branch7x7dbl_4 = Convolution(width, width, HIGH)
        self.branch7x7dbl_5 = Convolution(width, 192, WIDE)
        self.pool, self.branch_pool = pool, Convolution(inputs, 192, ONE)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(self.pool(x))], 1)


class InceptionD(nn.Module):
    """From 17 × 17 to 8 × 8 places."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, ONE)
        self.branch3x3_2 = Convolution(192, 320, THREE, 2, bare=True)
        self.branch7x7x3_1 = Convolution(inputs, 192, ONE)
        self.branch7x7x3_2 = Convolution(192, 192, WIDE)
        self.branch7x7x3_3 = Convolution(192, 192, HIGH)
        self.branch7x7x3_4 = Convolution(192, 192, THREE, 2, bare=True)

    def forward(self, x: Tensor) -> Tensor:
        of_seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(of_seven), F.max_pool2d(x, 3, 2)], 1)


class InceptionE(nn.Module):
    """8 × 8 places."""

    def __init__(self, inputs: int, pool: nn.Module) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 320, ONE)
        self.branch3x3_1 = Convolution(inputs, 384, ONE)
        self.branch3x3_2a = Convolution(384, 384, (1, 3))
        self.branch3x3_2b = Convolution(384, 384, (3, 1))
        self.branch3x3dbl_1 = Convolution(inputs, 448, ONE)
        self.branch3x3dbl_2 = Convolution(448, 384, THREE)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1))
        self.pool, self.branch_pool = pool, Convolution(inputs, 192, ONE)

    def forward(self, x: Tensor) -> Tensor:
        once, twice = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        once = [self.branch3x3_2a(once), self.branch3x3_2b(once)]
        twice = [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return torch.cat([self.branch1x1(x), *once, *twice, self.branch_pool(self.pool(x))], 1)


class Inception(nn.Module):
    """From pictures (n, 3, 299, 299), from −1 to 1, to features (n, 2048).

    TensorFlow's network of 2015, by which Heusel et al. (2017) define FID (`of_fid`), differs from torchvision's: means over
    3 × 3 places leave out those beyond the edge, and the last block takes maxima instead.
    """

    def __init__(self, *, of_fid: bool) -> None:
        super().__init__()
        self.of_fid = of_fid
        mean = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=not of_fid)
        self.Conv2d_1a_3x3 = Convolution(3, 32, THREE, 2, bare=True)
        self.Conv2d_2a_3x3 = Convolution(32, 32, THREE, bare=True)
        self.Conv2d_2b_3x3 = Convolution(32, 64, THREE)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = Convolution(64, 80, ONE)
        self.Conv2d_4a_3x3 = Convolution(80, 192, THREE, bare=True)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = InceptionA(192, 32, mean)
        self.Mixed_5c = InceptionA(256, 64, mean)
        self.Mixed_5d = InceptionA(288, 64, mean)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128, mean)
        self.Mixed_6c = InceptionC(768, 160, mean)
        self.Mixed_6d = InceptionC(768, 160, mean)
        self.Mixed_6e = InceptionC(768, 192, mean)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280, mean)
        self.Mixed_7c = InceptionE(2048, nn.MaxPool2d(3, stride=1, padding=1) if of_fid else mean)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.children():
            x = block(x)
        return x.mean((2, 3))


def load_inception(path: Path) -> Inception:
    """The network with the weights of a safetensors file, on the CPU, in float32 and for evaluation only.

    The number of its logits, 1,008 or 1,000, tells FID's network from torchvision's.

    Raises `RequestError` if the file can't be read or isn't such a network.
    """
    try:
        with in_utf8(path) as readable, safe_open(readable, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # not a mapping
            network = _network(shapes)
            weights = {name: file.get_tensor(name).float() for name in network.state_dict() if name in shapes}
    except FileNotFoundError:
        raise RequestError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise RequestError(f"{path} is not a safetensors file: {error}") from None
    except RequestError as error:
        raise RequestError(f"{path} does not hold the weights of Inception-v3: {error}") from None
    bad = next((name for name, weight in weights.items() if not weight.isfinite().all()), None)
    if bad is not None:
        raise RequestError(f"{path}: {bad} has numbers that are not finite")
    network.load_state_dict(weights, strict=False, assign=True)  # all but the counters, as `_network` has checked
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, Convolution):
            module.fuse()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _network(shapes: Mapping[str, Sequence[int]]) -> Inception:
    """The network that tensors of these shapes are the weights of, without them."""
    logits = shapes["fc.weight"][0] if shapes.get("fc.weight") else None
    if logits not in _LOGITS:
        raise RequestError("no fc.weight" if logits is None else f"{logits} logits, expected 1008 or 1000")
    with torch.device("meta"):
        network = Inception(of_fid=_LOGITS[logits])
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if not _unused(name)}
    expected["fc.weight"] = (logits, DIMENSIONS)
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            raise RequestError(f"no {name}" if name not in shapes else f"{name} has the shape {shapes[name]}, expected {shape}")
    unknown = next((name for name in shapes if name not in expected and not _unused(name)), None)
    if unknown is not None:
        raise RequestError(f"unexpected {unknown}")
    return network


def _unused(name: str) -> bool:
    return name.startswith(_UNUSED) or name.endswith(_UNUSED)
