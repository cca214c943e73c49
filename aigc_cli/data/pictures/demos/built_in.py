"""The built-in data sets of pictures: their options, splits, and readers that draw them in a format."""

from __future__ import annotations

from aigc_cli.data.pictures.decoding.raw import Reader
from aigc_cli.data.pictures.demos.scenes import NAME as SCENES
from aigc_cli.data.pictures.demos.scenes import Scenes, ScenesReader
from aigc_cli.data.pictures.demos.shapes import Shapes, ShapesReader
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.sources.source import Part, Source
from aigc_cli.data.understood import Understood
from aigc_cli.errors import RequestError

DEMOS = ("shapes", SCENES)


def is_scenes(location: str) -> bool:
    return location.partition("?")[0] == f"demo:{SCENES}"


def open_demo(src: str) -> Source:
    """The data set with a name such as `demo:shapes?n=500`. Raises RequestError for options that it doesn't have."""
    options = src.partition("?")[2]
    if not is_scenes(src):
        location = Shapes.parse(options).location
        return Source(location, {"all": Part(location, "demo")})
    scenes = Scenes.parse(options)
    parts = {split: Part(scenes.location, "demo", split=split) for split in scenes.splits}
    share = f"{1 - scenes.holdout:.0%} of the combinations of attributes"
    told = {split: share if split == "train" else "others" for split in parts}
    return Source(scenes.location, parts or {"all": Part(scenes.location, "demo")}, understood=Understood(splits=told))


def demo_fingerprint(location: str) -> str:
    return (Scenes.of(location) if is_scenes(location) else Shapes.of(location)).fingerprint()


def demo_reader(part: Part, format: PictureFormat, label: str | None = None) -> Reader:
    """Raises RequestError for a label that it doesn't have."""
    if is_scenes(part.location):
        if label is not None:
            raise RequestError(f"--label {label}: demo:{SCENES} has no labels")
        return ScenesReader(Scenes.of(part.location), part.split, format)
    return ShapesReader(Shapes.of(part.location), format, label)
