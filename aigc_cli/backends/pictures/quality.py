"""The quality, variety and novelty of samples: the same measures for all picture backends.

Free of torch and numpy at import, because of the options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from aigc_cli.backends.base import Sample
from aigc_cli.data.pictures.labels import Classes, by_label
from aigc_cli.engine.events import Bus
from aigc_cli.engine.settings import OUTPUT, CommandOptions
from aigc_cli.errors import RequestError
from aigc_cli.files import check_file, written_aside
from aigc_cli.options import did_you_mean, option

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from aigc_cli.data.pictures.dataset import PictureArrays
    from aigc_cli.metrics.pictures.copies import Copies
    from aigc_cli.metrics.pictures.features import Extractor, Features
    from aigc_cli.metrics.pictures.manifold import Manifold
    from aigc_cli.metrics.statistics.bootstrap import Measure

    Pixels: TypeAlias = NDArray[np.uint8]

QUALITY = "Measuring samples"
FEATURES = ("random", "pixels", "labels", "inception")

#: The most training pictures to search for copies, in number and in bytes.
MAX_TRAINING, MAX_TRAINING_BYTES = 50_000, 1 << 29
#: The most samples that are turned into sounds, to look at their peaks, and as many real ones.
HEARD = 500
#: Pictures per chunk of feature extraction.
AT_ONCE = 500
#: The same where a picture takes a tenth of a second, so that progress shows.
AT_ONCE_SLOWLY = 32
#: Pairs of a sample and a training picture on the sheet of --copies, in all and per row.
PAIRS, PAIRS_IN_A_ROW = 32, 4
#: With fewer samples, no share of them means much.
VERY_FEW = 100
#: With fewer samples, the kernel distance misses a lot.
FEW = 1000


@dataclass(frozen=True)
class QualityOptions(CommandOptions):
    """Options of every `eval` that compares samples with real pictures."""

    n: int = option(10_000, min=0, panel=QUALITY, short="-n", aliases=("samples",))
    """Pictures to draw and compare with as many held-out ones (fewer if the data has fewer). 0 skips it."""
    features: str = option("random", metavar="random|pixels|labels|inception:FILE", panel=QUALITY)
    """Features to compare pictures by: those of a fixed random network, of a small classifier trained on the data's labels, the
    pixels themselves, or for FID and KID those of Inception-v3, with its weights from a safetensors file."""
    copies: str | None = option(None, metavar="FILE", panel=QUALITY, auto="no sheet")
    """Write a sheet (.png) of the samples closest to a training picture, each to the left of it."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite the sheet of --copies."""

    def __post_init__(self) -> None:
        name, colon, file = self.features.partition(":")
        if name == "inception" and not file:
            raise RequestError("--features inception needs the file of its weights: inception:FILE.safetensors")
        if name not in FEATURES or (colon and name != "inception"):
            expected = f"{', '.join(FEATURES[:-1])} or inception:FILE"
            raise RequestError(f"--features must be one of {expected}, not {self.features!r}{did_you_mean(name, FEATURES)}")


def quality(
    samples: Iterable[Pixels],
    train: PictureArrays,
    held_out: PictureArrays,
    classes: Classes,
    options: QualityOptions,
    *,
    seed: int,
    device: torch.device,
    bus: Bus,
    beside: Mapping[str, Iterable[Pixels]] | None = None,
    heard: Callable[[Pixels], NDArray[np.float32]] | None = None,
) -> tuple[dict[str, Measure], list[str]]:
    """Compare samples with as many held-out pictures. Returns measures by name, and notes.

    `samples` are chunks of pictures (b, height, width, channels). Only N are drawn: the smallest of -n and the numbers
    of training and held-out pictures. All measures use the same N: `fd_…` and `kd_…` (named after the features; `fid` and `kid`
    with those that these are defined by), `precision`, `recall`, `density`, `coverage` and `copies`, and with label features
    also `class_shares` (`class_shares_NAME` for each of several labels) and, of one label, `inception_score`. Each has a
    `floor`: the same measure for N training pictures in place of the samples (for `copies` and `inception_score`, for held-out
    pictures). Copies are searched for among no more than N training pictures if features take long. Each of `beside` is
    measured in the same way, and stands beside the measures by its name.

    `heard` turns a picture that stands for a sound into that sound (samples, channels). With it, the shares of `silent` and
    `clipped` sounds are measured too, and the inception score with all features if there is one label.

    Raises `RequestError`, before anything is drawn, if the data lacks the labels that --features needs, the file that it names
    is a wrong one, or the sheet of --copies can't be written.
    """
    import numpy as np

    from aigc_cli.metrics.pictures.copies import copies
    from aigc_cli.metrics.pictures.manifold import K, Manifold

    if not options.n:
        if options.copies is not None:
            raise RequestError("--copies needs samples; remove -n 0")
        return {}, []
    sheet = None if options.copies is None else _sheet_path(options.copies, force=options.force)
    # Not drawn with the seed: the features depend on these pictures, and should be the same for every comparison.
    pixels, labels = _training(train, np.random.default_rng(0).permutation(len(train)))
    n = min(options.n, len(pixels), len(held_out))
    if n <= K:
        few = f"{K + 1} training and {K + 1} held-out pictures, and there are {len(train):,} and {len(held_out):,}"
        return {}, [f"samples are not measured: that needs at least {few}; evaluate on more with --data"]
    extractor = _extractor(options, pixels, labels, classes, device, bus)
    kept: list[Pixels] = []
    drawn = _features(
        extractor, _first(samples, n, None if sheet is None and heard is None else kept), n, "drawing samples", bus
    )
    n = len(drawn)
    if n <= K:
        return {}, [f"samples are not measured: that needs at least {K + 1} of them"]
    among = np.random.default_rng(seed).permutation(len(held_out))[:n]
    real = _features(extractor, _chunks(n, lambda part: held_out.take(among[part])), n, "reading held-out data", bus)
    searched = n if extractor.slow else len(pixels)
    training = _features(extractor, _chunks(searched, lambda part: pixels[part]), searched, "reading training data", bus)
    bus.stage("comparing", 0, None)
    around = Manifold(real)
    floors = _compared(extractor, training[:n], around, classes, seed)

    def measured(features: Features) -> tuple[dict[str, Measure], Copies]:
        found = copies(features, training, real)
        compared = _compared(extractor, features, around, classes, seed)
        measures = {name: measure.beside(floor=floors[name]) for name, measure in compared.items()}
        return measures | {"copies": found.proportion}, found

    measures, found = measured(drawn)
    if sheet is not None:
        _write_sheet(sheet, np.concatenate(kept), pixels, found)
    of_sounds: dict[str, Measure] = {}
    if heard is not None:
        both = np.concatenate(kept), held_out.take(among)
        of_sounds = _peaks(heard, *both, bus)
        if extractor.name != "labels" and labels is not None and classes and not isinstance(classes, Mapping):
            of_sounds |= _judged(*both, pixels, labels, classes, seed, device, bus)
    notes = _notes(n, searched, len(train), options, extractor) + _verdict(measures, extractor)
    measures = {name: measure.beside(**extractor.about) for name, measure in measures.items()}
    for other, chunks in (beside or {}).items():
        of_other, _ = measured(_features(extractor, _first(chunks, n, None), n, f"reading what is {other}", bus))
        measures = {
            name: measure.beside(**{other: of_other[name].beside(**extractor.about)}) for name, measure in measures.items()
        }
    return measures | _scored(extractor, drawn, real, seed) | of_sounds, notes


def reconstruction_distances(
    reconstructed: Callable[[slice], Pixels],
    held_out: PictureArrays,
    train: PictureArrays,
    classes: Classes,
    options: QualityOptions,
    *,
    seed: int,
    device: torch.device,
    bus: Bus,
) -> dict[str, Measure]:
    """How far reconstructions of held-out pictures are from training pictures, as many of each: `reconstruction_fd_…` and
    `reconstruction_kd_…`, named after the features. The `floor` is that of the same held-out pictures themselves.

    `reconstructed` gives the reconstructions of a slice of `held_out`. Raises `RequestError` if the data lacks the labels that
    --features needs.
    """
    import numpy as np

    from aigc_cli.metrics.pictures.frechet import frechet
    from aigc_cli.metrics.pictures.kernel_distance import kd

    pixels, labels = _training(train, np.random.default_rng(0).permutation(len(train)))
    n = min(options.n, len(pixels), len(held_out))
    if n < 2:
        return {}
    extractor = _extractor(options, pixels, labels, classes, device, bus)
    training = _features(extractor, _chunks(n, lambda part: pixels[part]), n, "reading training data", bus)
    stages = (("reconstructing", reconstructed), ("reading held-out data", lambda part: held_out.take(np.arange(n)[part])))
    again, real = (_features(extractor, _chunks(n, take), n, stage, bus) for stage, take in stages)
    measures = {}
    for name, distance in zip(extractor.distances, (frechet, kd), strict=True):
        of_real, of_again = (distance(features, training, seed=seed) for features in (real, again))
        measures[f"reconstruction_{name}"] = of_again.beside(floor=of_real, **extractor.about)
    return measures


def _extractor(
    options: QualityOptions,
    pixels: Pixels,
    labels: NDArray[np.int64] | None,
    classes: Classes,
    device: torch.device,
    bus: Bus,
) -> Extractor:
    from aigc_cli.metrics.pictures.features import LabelFeatures, SeveralLabelFeatures, make_extractor

    kind = options.features.partition(":")[0]
    bus.stage(f"preparing the features: {kind}", 0, None)
    try:
        if options.features == "labels" and isinstance(classes, Mapping) and labels is not None:
            of_label = zip(classes.items(), labels.T, strict=True)
            return SeveralLabelFeatures(
                {label: LabelFeatures(pixels, of, len(names), 0, device) for (label, names), of in of_label}
            )
        return make_extractor(options.features, pixels, labels, len(classes), device=device)
    except RequestError as error:
        other = "; use --features random" if kind == "labels" else ""
        raise RequestError(f"--features {kind}: {error}{other}") from None


def stacked(samples: Iterable[Sample]) -> Iterator[Pixels]:
    """The pictures of samples, in chunks as `quality` takes them."""
    import numpy as np

    chunk = []
    for sample in samples:
        chunk.append(sample.content)
        if len(chunk) == AT_ONCE:
            yield np.stack(chunk)
            chunk = []
    if chunk:
        yield np.stack(chunk)


def _compared(extractor: Extractor, features: Features, real: Manifold, classes: Classes, seed: int) -> dict[str, Measure]:
    """Compare features (n, d) with those of n real pictures."""
    from aigc_cli.metrics.pictures.class_shares import class_shares
    from aigc_cli.metrics.pictures.features import LabelFeatures, SeveralLabelFeatures
    from aigc_cli.metrics.pictures.frechet import frechet
    from aigc_cli.metrics.pictures.kernel_distance import kd
    from aigc_cli.metrics.pictures.manifold import Manifold, manifold

    fd_name, kd_name = extractor.distances
    measures = {
        fd_name: frechet(features, real.points, seed=seed),
        kd_name: kd(features, real.points, seed=seed),
        **manifold(real, Manifold(features), seed=seed),
    }
    points = real.points.astype(features.dtype)
    if isinstance(extractor, LabelFeatures):
        measures["class_shares"] = class_shares(
            extractor.classes(features), extractor.classes(points), [*by_label(classes)[""]], seed=seed
        )
    elif isinstance(extractor, SeveralLabelFeatures):
        of_samples, of_real = extractor.classes(features), extractor.classes(points)
        for label, names in by_label(classes).items():
            measures[f"class_shares_{label}"] = class_shares(of_samples[label], of_real[label], names, seed=seed)
    return measures


def _peaks(heard: Callable[[Pixels], NDArray[np.float32]], samples: Pixels, real: Pixels, bus: Bus) -> dict[str, Measure]:
    """The shares of silent and clipped sounds among the first samples, and as many real ones as `floor`."""
    from aigc_cli.metrics.sounds.peaks import clipped, peak, silent

    n, found = min(HEARD, len(samples)), []
    for number, picture in enumerate((*samples[:n], *real[:n])):
        found.append(peak(heard(picture)))
        bus.stage("listening", number + 1, 2 * n)
    drawn, held_out = found[:n], found[n:]
    return {
        "silent": silent(drawn, held_out).beside(floor=silent(held_out, held_out)),
        "clipped": clipped(drawn).beside(floor=clipped(held_out)),
    }


def _judged(
    samples: Pixels,
    real: Pixels,
    train: Pixels,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    seed: int,
    device: torch.device,
    bus: Bus,
) -> dict[str, Measure]:
    """The inception score by a classifier of the training pictures' labels; none where they are too few to learn from."""
    from aigc_cli.metrics.pictures.features import LabelFeatures

    bus.stage("learning the labels", 0, None)
    try:
        judge = LabelFeatures(train, labels, len(classes), 0, device)
    except RequestError:
        return {}
    return _scored(judge, judge(samples), judge(real), seed)


def _scored(extractor: Extractor, samples: Features, real: Features, seed: int) -> dict[str, Measure]:
    """The inception score of features (n, d), if they are a classifier's; that of real ones, which it didn't learn from, as
    `floor`."""
    from aigc_cli.metrics.pictures.features import LabelFeatures
    from aigc_cli.metrics.pictures.inception_score import inception_score

    if not isinstance(extractor, LabelFeatures):
        return {}
    of_samples, of_real = (inception_score(extractor.probabilities(features), seed=seed) for features in (samples, real))
    return {"inception_score": of_samples.beside(floor=of_real, **extractor.about)}


def _features(extractor: Extractor, chunks: Iterable[Pixels], n: int, stage: str, bus: Bus) -> Features:
    import numpy as np

    from aigc_cli.engine.processes.sharing import shared

    def parts() -> Iterator[Pixels]:
        for chunk in chunks:
            step = AT_ONCE_SLOWLY if extractor.slow else len(chunk)
            yield from (chunk[start : start + step] for start in range(0, len(chunk), step))

    found, done = [np.empty((0, extractor.about["dimensions"]), np.float32)], 0
    for _, features in shared(parts(), extractor):
        found.append(features)
        done += len(features)
        bus.stage(stage, done, n)
    return np.concatenate(found)


def _first(chunks: Iterable[Pixels], n: int, kept: list[Pixels] | None) -> Iterator[Pixels]:
    """The first n pictures (or all, if there are fewer), in chunks, also added to `kept`. Draws no more chunks than needed."""
    for chunk in chunks:
        some, n = chunk[:n], n - len(chunk)
        if kept is not None:
            kept.append(some)
        yield some
        if n <= 0:
            return


def _chunks(n: int, take: Callable[[slice], Pixels]) -> Iterator[Pixels]:
    return (take(slice(start, min(start + AT_ONCE, n))) for start in range(0, n, AT_ONCE))


def _training(train: PictureArrays, order: NDArray[np.int64]) -> tuple[Pixels, NDArray[np.int64] | None]:
    """The training pictures to use, the first ones in this order, and their labels."""
    chosen = order[: min(MAX_TRAINING, max(1000, MAX_TRAINING_BYTES // math.prod(train.shape)))]
    return train.take(chosen), None if train.labels is None else train.labels[chosen]


def _notes(n: int, looked_at: int, in_training: int, options: QualityOptions, extractor: Extractor) -> list[str]:
    notes, dimensions = [], extractor.about["dimensions"]
    if n < options.n:
        notes.append(f"{n:,} instead of {options.n:,} samples were measured: there are no more pictures to compare with")
    if n < VERY_FEW:
        notes.append(f"with under {VERY_FEW} pictures, precision, recall, density, coverage and copies say little")
    if n <= dimensions:
        fd_name, kd_name = extractor.distances
        notes.append(
            f"{fd_name} and its floor are much too high, because {n:,} pictures are too few for {dimensions} features; "
            f"{kd_name} is not affected"
        )
    if looked_at < in_training:
        notes.append(
            f"copies were searched for among {looked_at:,} randomly chosen ones of the {in_training:,} training pictures"
        )
    return notes


def _verdict(measures: Mapping[str, Measure], extractor: Extractor) -> list[str]:
    """A note on samples with low coverage, or on a kernel distance at its floor."""
    kd_name = extractor.distances[1]
    distance, coverage = measures[kd_name], measures["coverage"]
    floor, covered = distance.extra["floor"], coverage.extra["floor"].value
    if coverage.high is not None and coverage.high < covered / 2:
        return [
            f"few real pictures have a sample like them (coverage {coverage.value:.2f}; real pictures have {covered:.2f}): the "
            "model is far from done; try more --minutes"
        ]
    if distance.low is None or floor.high is None or distance.low > floor.high:
        return []
    note = f"{distance.n:,} samples can't be told from real pictures by {kd_name}"
    if distance.n < FEW:
        note += ", which misses a lot with so few; look at the samples, or evaluate on more pictures with --data"
    return [note]


def _sheet_path(name: str, *, force: bool) -> Path:
    path = Path(name)
    if path.suffix.lower() != ".png":
        raise RequestError(f"--copies {path}: the sheet must be a .png file")
    check_file(path, force=force, flag="--copies")
    return path


def _write_sheet(path: Path, samples: Pixels, training: Pixels, found: Copies) -> None:
    """Write the samples closest to a training picture, closest first, each with that picture on its right."""
    from aigc_cli.data.pictures.output import encode_picture, enlargement, sheet

    pairs = [picture for i in found.worst(PAIRS) for picture in (samples[i], training[found.nearest[i]])]
    with written_aside(path) as file:
        file.write(encode_picture(sheet(pairs, 2 * PAIRS_IN_A_ROW, enlargement(*samples.shape[1:3])), ".png"))
