"""demo:scenes: what a picture shows is known, and read off its pixels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from aigc_cli.data.pictures.dataset import PictureReading, PictureRequest, like, prepare_pictures
from aigc_cli.data.pictures.demos.scenes import Scene, Scenes, Thing, draw_scenes, split_combinations
from aigc_cli.data.pictures.format import Mode, PictureFormat, Wanted
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.records.dataset import RecordDataset, RecordRequest, check_unchanged, prepare_records, read_records
from aigc_cli.data.records.scene_words import QUESTIONS, caption_of, kind_of, meaning_of, questions_of
from aigc_cli.data.records.scenes import obeys, read_scene
from aigc_cli.errors import RequestError
from tests.test_records import quiet


def scenes(options: str, split: str = "") -> list[Scene]:
    return [*Scenes.parse(options).of_split(split)]


def prepare(data: str, *fields: str) -> RecordDataset:
    return prepare_records(RecordRequest(data, fields=fields or None), PictureReading(Wanted()), progress=quiet)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize(("side", "mode"), [(32, "RGB"), (32, "RGBA"), (48, "RGB")])
def test_everything_that_a_picture_shows_is_read_off_it(side: int, mode: Mode) -> None:
    every = [*scenes("n=60&shapes=1"), *scenes("n=60")]
    for scene, pixels in zip(every, draw_scenes(every, PictureFormat(side, side, mode)), strict=True):
        found = read_scene(pixels)
        assert len(found) == len(scene)
        for thing in scene:
            there = min(found, key=lambda of: abs(of.centre[0] - thing.centre[0]) + abs(of.centre[1] - thing.centre[1]))
            assert (there.size, there.colour, there.shape) == (thing.size, thing.colour, thing.shape)
            assert len(scene) > 1 or there.place == thing.place


def test_a_caption_says_what_a_scene_shows_and_nothing_that_it_does_not() -> None:
    every = scenes("n=200")
    captions = [caption_of(scene, Random(number)) for number, scene in enumerate(every)]
    assert all(all(obeys(scene, caption).values()) for scene, caption in zip(every, captions, strict=True))
    others = [all(obeys(scene, caption).values()) for scene, caption in zip(every, captions[1:] + captions[:1], strict=True)]
    assert sum(others) <= 2  # two scenes may be alike
    assert meaning_of("a big red cross in the middle and more") is None
    with pytest.raises(ValueError, match="not a caption of demo:scenes"):
        obeys(every[0], "a red heart")


RED = Thing("cross", "red", "big", 0.2, 0.1, 0.5)
BLUE = Thing("square", "blue", "small", 0.12, 0.9, 0.5)


@pytest.mark.parametrize(
    ("scene", "caption", "wrong"),
    [
        ((RED, BLUE), "a big red cross left of a small blue square", set()),
        ((BLUE, RED), "a small blue square right of a big red cross", set()),
        ((RED, BLUE), "a big red cross right of a small blue square", {"relation"}),
        ((RED, BLUE), "a big red cross above a small blue square", {"relation"}),
        ((RED, BLUE), "a big red cross left of a big blue square", {"size"}),
        ((RED, BLUE), "a big red square left of a small blue square", {"shape"}),
        ((RED,), "a big red cross on the left", set()),
        ((RED,), "a big red cross at the top left", {"place"}),
        ((RED, BLUE), "a big red cross on the left", {"count"}),
        ((), "a big red cross on the left", {"count", "size", "colour", "shape", "place"}),
        ((RED,), "a big red cross left of a small blue square", {"count", "size", "colour", "shape", "relation"}),
    ],
)
def test_what_of_a_caption_a_scene_has_right(scene: Scene, caption: str, wrong: set[str]) -> None:
    assert {name for name, right in obeys(scene, caption).items() if not right} == wrong


def test_a_blot_is_no_shape() -> None:
    pixels = np.full((32, 32, 3), 255, np.uint8)
    assert read_scene(pixels) == ()
    pixels[3:9, 2:30] = (225, 60, 50)  # a bar
    pixels[20, 20] = 0
    (thing,) = read_scene(pixels)
    assert (thing.colour, thing.shape) == ("red", "")


def test_questions_of_every_kind_have_the_answer_that_the_scene_gives() -> None:
    kinds = Counter[str]()
    for number, scene in enumerate(scenes("n=300")):
        for question, answer in questions_of(scene, Random(number)):
            kind = kind_of(question)
            kinds[kind] += 1
            words = question.removesuffix("?").split()
            if kind == "colour":
                assert [thing.colour for thing in scene if thing.shape == words[-1]] == [answer]
            elif kind == "is there":
                there = any((thing.colour, thing.shape) == (words[-2], words[-1]) for thing in scene)
                assert answer == ("yes" if there else "no")
            elif kind == "size":
                assert answer in [thing.size for thing in scene if (thing.colour, thing.shape) == (words[-2], words[-1])]
            elif kind == "count":
                what = words[2].removesuffix("es" if words[2] == "crosses" else "s")
                assert int(answer) == sum(what in (thing.colour, thing.shape, "shape") for thing in scene)
            elif kind == "relation":
                assert any(f"the {thing.colour} {thing.shape}" == answer for thing in scene)
    assert {*kinds} == {*QUESTIONS} and min(kinds.values()) > 50


def test_records_of_captions_and_of_questions() -> None:
    data = prepare("demo:scenes?n=120")
    assert data.notes[0] == "120 records: caption (text), picture (picture, 32×32 RGB)"
    for caption, pixels in zip(data.report.texts["caption"], data.report.pictures.take(range(len(data.report))), strict=True):
        assert all(obeys(read_scene(pixels), caption).values())
    asked = prepare("demo:scenes?n=120", "picture", "question", "answer")
    assert asked.notes[0].startswith("5") and "records of 120 pictures: picture (picture, 32×32 RGB)" in asked.notes[0]
    alone = prepare_pictures(PictureRequest("demo:scenes?n=120"), progress=quiet)
    assert {*asked.report.pictures.names} == {*alone.report.names} == {*data.report.pictures.names}
    assert asked.info["kind"] == "text" and check_unchanged(asked.info, PictureReading(Wanted())) == []


def test_combinations_that_are_held_out_are_never_trained_on() -> None:
    source = "demo:scenes?n=400&shapes=1&holdout=0.7"

    def shown(captions: object) -> set[object]:
        return {(meaning_of(caption).things[0], meaning_of(caption).place) for caption in captions}

    data = prepare(source)
    test = read_records(source, data.fields, like(data.info), split="test", progress=quiet)
    train, select, report = (shown(of.texts["caption"]) for of in (data.train, data.select, test))
    assert len(train) > 100 and len(select) > 50 and not train & select and not train & report and not select & report
    of = split_combinations(0.7, 1)
    assert len(of["train"]) == 130 and len(of["val"]) == len(of["test"]) == 151
    for place in range(5):  # every value is trained on
        assert {combination[place] for combination in of["train"]} == {combination[place] for combination in of["val"]}
    assert "validating on 100 pictures" in data.notes
    snapshots = {part.split for part in PICTURES.open(source).parts.values()}
    assert snapshots == {"train", "val", "test"}


def test_more_scenes_start_with_the_same_ones_and_options_are_checked() -> None:
    assert scenes("n=30") == scenes("n=60")[:30] != scenes("n=30&seed=1")
    assert {len(scene) for scene in scenes("n=60")} == {1, 2, 3} and {len(scene) for scene in scenes("n=9&shapes=2")} == {2}
    assert caption_of(scenes("n=1")[0], Random(0)) == "a small orange cross right of a small green triangle"
    for options, message in (
        ("shapes=4", "shapes='4' must be an integer from 1 to 3"),
        ("holdout=1", "holdout='1' must be a share from 0 to 0.9"),
        ("size=3", "has no option 'size', only n, seed, shapes and holdout"),
    ):
        with pytest.raises(RequestError, match=message):
            PICTURES.open(f"demo:scenes?{options}")
