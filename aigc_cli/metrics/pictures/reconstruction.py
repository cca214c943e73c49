"""How near reconstructed pictures come to the originals, picture by picture: PSNR and SSIM.

Pictures have shape (n, height, width, channels), as uint8 or as floats in [0, 1]; the two sets need not be of
one kind. Every channel counts alike, alpha among them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 17  # values of pictures held as float64 at once: 1 MiB an array, which stays in the cache
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_ROUNDING = 1e-4

Pictures = NDArray[np.uint8] | NDArray[np.floating[Any]]


def psnr(pictures: Pictures, reconstructions: Pictures) -> NDArray[np.float64]:
    """The peak signal-to-noise ratio of each picture in dB, 10 · log₁₀(1 / mean squared error). Shape (n,).

    The error is the mean over pixels and channels, the peak is white. It is infinite where a reconstruction
    equals its picture, and then so is a mean over pictures, though not a median.
    """
    error = _chunked(lambda x, y: ((x - y) ** 2).mean(axis=(1, 2, 3)), pictures, reconstructions)
    return -10 * np.log10(error, out=np.full_like(error, -np.inf), where=error > 0)


def ssim(pictures: Pictures, reconstructions: Pictures) -> NDArray[np.float64]:
    """The mean structural similarity of each picture, from −1 to 1. Shape (n,).

    Wang et al. (2004), "Image Quality Assessment: From Error Visibility to Structural Similarity", eq. 13–17:
    an 11 × 11 Gaussian window of σ = 1.5, K₁ = 0.01, K₂ = 0.03, only windows that lie in the picture, no
    down-sampling first. Channels are averaged. Where a side is shorter than 11 pixels the window is cut to it
    and rescaled, and the values compare only among pictures of that size.
    """
    return _chunked(_ssim, pictures, reconstructions)


def _ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    moments = _windowed(_windowed(np.stack([x, y, x * x, y * y, x * y]), axis=2), axis=3)
    mu_x, mu_y, xx, yy, xy = moments
    var_x, var_y, covariance = xx - mu_x**2, yy - mu_y**2, xy - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + _C1) / (mu_x**2 + mu_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    similarity: NDArray[np.float64] = (luminance * structure).mean(axis=(1, 2, 3))
    return similarity


def _windowed(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The Gaussian-weighted mean in each window along one axis; the two-dimensional window is separable."""
    length = min(_WINDOW, values.shape[axis])
    weights = np.exp(-0.5 * ((np.arange(length) - (length - 1) / 2) / _SIGMA) ** 2)
    windows = values.shape[axis] - length + 1
    along = np.moveaxis(values, axis, 0)
    total = sum(weight * along[start : start + windows] for start, weight in enumerate(weights / weights.sum()))
    return np.moveaxis(np.asarray(total), 0, axis)


def _chunked(
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    pictures: Pictures,
    reconstructions: Pictures,
) -> NDArray[np.float64]:
    if pictures.ndim != 4 or pictures.shape != reconstructions.shape or 0 in pictures.shape[1:]:
        raise ValueError(f"two sets of (n, height, width, channels): got {pictures.shape} and {reconstructions.shape}")
    step = max(1, _CHUNK // int(np.prod(pictures.shape[1:])))
    values = np.empty(len(pictures))
    for start in range(0, len(pictures), step):
        part = slice(start, start + step)
        values[part] = measure(_unit(pictures[part]), _unit(reconstructions[part]))
    return values


def _unit(pictures: Pictures) -> NDArray[np.float64]:
    """The pictures as float64 in [0, 1]."""
    if pictures.dtype == np.uint8:
        return pictures / 255
    if not np.issubdtype(pictures.dtype, np.floating):
        raise ValueError(f"pictures are uint8 or floats in [0, 1], not {pictures.dtype}")
    if not (pictures.min() >= -_ROUNDING and pictures.max() <= 1 + _ROUNDING):
        raise ValueError(f"pictures as floats lie in [0, 1]: got {pictures.min()} to {pictures.max()}")
    return pictures.astype(np.float64)
