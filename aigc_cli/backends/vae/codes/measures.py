"""`aigc eval vae` for a run whose latents are codes: how good reconstructions are, and how well the codes are used."""

from __future__ import annotations

import numpy as np

from aigc_cli.backends.pictures.quality import reconstruction_distances
from aigc_cli.backends.vae.codes.codec import TOGETHER
from aigc_cli.backends.vae.codes.verbs import codec_of
from aigc_cli.backends.vae.config import Eval
from aigc_cli.backends.vae.loaded import Loaded
from aigc_cli.data.pictures.dataset import PictureArrays, PictureDataset
from aigc_cli.engine.events import Bus
from aigc_cli.metrics.latents.code_usage import code_entropy, codes_in_use
from aigc_cli.metrics.pictures.reconstruction import psnr, ssim
from aigc_cli.metrics.statistics.bootstrap import Measure, mean, median


def code_measures(
    loaded: Loaded, dataset: PictureDataset | None, arrays: PictureArrays, options: Eval, bus: Bus
) -> dict[str, Measure]:
    """PSNR and SSIM of reconstructions, the codes in use and their entropy, and if the run's data is there also the distances
    of reconstructions."""
    codec = codec_of(loaded)
    codes, ratios, similarities = [], [], []
    for at in range(0, len(arrays), TOGETHER):
        pictures = arrays.take(np.arange(at, min(at + TOGETHER, len(arrays))))
        codes.append(codec.encode(pictures))
        again = codec.decode(codes[-1])
        ratios.append(psnr(pictures, again))
        similarities.append(ssim(pictures, again))
        bus.stage("evaluating", min(at + TOGETHER, len(arrays)), len(arrays))
    table = np.concatenate(codes)
    measures = {
        "psnr": median(np.concatenate(ratios), unit="dB", seed=options.seed).beside(statistic="median"),
        "ssim": mean(np.concatenate(similarities), unit="", seed=options.seed),
        "codes_in_use": codes_in_use(table, codec.n_codes),
        "code_entropy": code_entropy(table, codec.n_codes, seed=options.seed),
    }
    if dataset is None:
        return measures
    return measures | reconstruction_distances(
        lambda part: codec.decode(table[part]), arrays, dataset.train, dataset.classes, options,
        seed=options.seed, device=loaded.device, bus=bus,
    )  # fmt: skip
