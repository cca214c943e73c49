"""Near duplicates between held-out and training data: found, told, and removed with --dedup near."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Shell
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from aigc_cli.data.pictures.dataset import PictureDataset, PictureRequest, prepare_pictures
from aigc_cli.data.pictures.prepared import near as near_of_pictures
from aigc_cli.data.pictures.prepared.near import Rows, near_pictures
from aigc_cli.data.text.dataset import TextDataset, TextRequest, documents, prepare_text
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.near import near_texts
from aigc_cli.errors import RequestError

WORDS = ["river", "lantern", "kettle", "ladder", "window", "garden", "hollow", "golden", "quiet", "bright", "waits", "sings"]
LINES = Reading(layout="lines")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    yield


def _silent(what: str, done: int, total: int | None) -> None:
    pass


def _texts(source: Path, **options: Any) -> TextDataset:
    return prepare_text(TextRequest(str(source), reading=LINES, **options), progress=_silent)


def _pictures(source: str | Path, **options: Any) -> PictureDataset:
    return prepare_pictures(PictureRequest(str(source), **options), progress=_silent)


def _near_notes(data: TextDataset | PictureDataset) -> list[str]:
    return [note for note in data.notes if "near duplicate" in note]


def _drawing(seed: int, side: int = 64) -> Image.Image:
    """Two shapes on a ground that gets lighter, all of random colours."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(rng.integers(0, 120, 3), rng.integers(120, 255, 3), side)
    picture = Image.fromarray(np.repeat(ramp[:, None], side, 1).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for shape in (draw.ellipse, draw.rectangle):
        x, y, width, height = (int(value) for value in rng.integers(side // 8, side // 2, 4))
        shape((x, y, x + width, y + height), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return picture


def _again(picture: Image.Image, quality: int = 50, scale: float = 1) -> Image.Image:
    """A picture saved again as JPEG, perhaps in another size."""
    smaller = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.LANCZOS)
    file = BytesIO()
    smaller.save(file, "JPEG", quality=quality)
    return Image.open(file)


def _row(seed: int, n: int = 30) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n)) + f" {seed}"


# Pictures


def test_pictures_saved_again_are_found(tmp_path: Path) -> None:
    train, held = tmp_path / "train", tmp_path / "held"
    train.mkdir(), held.mkdir()
    for i in range(60):
        _drawing(i).save(train / f"{i:02}.png")
    for i in range(20):
        _again(_drawing(i)).save(held / f"again{i:02}.png")
        _again(_drawing(20 + i, 128), scale=0.5).save(held / f"half{i:02}.png")
        _drawing(1000 + i).save(held / f"other{i:02}.png")
    (train / "40.png").unlink()
    data = _pictures(train, val=str(held))
    (note,) = _near_notes(data)
    assert note.startswith("40 of 60 held out have near duplicates in the training data (such as again00.png and 00.png)")
    assert data.info["understood"]["near_duplicates"]["held_out"] == 40
    assert data.info["understood"]["near_duplicates"]["examples"][1] == ["again01.png", "01.png"]


def test_simple_drawings_are_not_near_one_another() -> None:
    data = _pictures("demo:shapes")
    pixels = data.train.take(range(2000))
    assert _found(pixels[:200], pixels[200:]) == set()
    assert _found(pixels[:200], pixels[100:]) == {(100 + i, i) for i in range(100)}


def test_demos_are_not_searched_unless_asked() -> None:
    data = _pictures("demo:shapes")
    assert not _near_notes(data) and "near_duplicates" not in data.info["understood"]
    assert _pictures("demo:shapes", dedup="near").info["dropped"]["near_duplicates"] > 0
    verse = prepare_text(TextRequest("demo:verse"), progress=_silent)
    assert not _near_notes(verse) and "near_duplicates" not in verse.info["understood"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("side", [12, 28, 33, 64])
def test_every_format_of_pictures(mode: str, side: int) -> None:
    held = np.stack([_pixels(_drawing(i, side), mode) for i in range(6)])
    others = np.stack([_pixels(_drawing(i, side), mode) for i in range(90, 95)])
    noise = np.random.default_rng(0).integers(-1, 2, held.shape)
    train = np.concatenate([others, np.clip(held + noise, 0, 255).astype(np.uint8)[::-1]])
    assert _found(held, train) == {(i, 10 - i) for i in range(6)}


def test_white_drawings_on_nothing_are_told_apart() -> None:
    alpha = np.stack([np.asarray(_drawing(i).convert("L")) for i in range(10)])[..., None]
    pixels = np.concatenate([np.full_like(alpha, 255).repeat(3, axis=3), alpha], axis=3)
    assert _found(pixels[:5], pixels[5:]) == set()
    assert _found(pixels[:5], pixels[3:]) == {(3, 0), (4, 1)}


def test_a_film_is_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_of_pictures, "_CHUNK_VALUES", 32 * 32 * 3 * 8)  # several chunks
    frame = _pixels(_drawing(0, 32), "RGB").astype(int)
    film = np.clip(frame + np.random.default_rng(0).integers(-1, 2, (60, *frame.shape)), 0, 255).astype(np.uint8)
    found = _found(film[:10], film[10:])
    assert {held for held, _ in found} == {*range(10)} and {train for _, train in found} == {*range(50)}
    assert len(found) < 100


def test_colours_count() -> None:
    grey = np.array([0.299, 0.587, 0.114])
    red, green = np.array([200, 40, 40]), np.array([40, 121, 40])
    assert abs(red @ grey - green @ grey) < 1
    pixels = np.array([red, green, red + np.array([1, 0, 0])], np.uint8)[:, None, None].repeat(32, 1).repeat(32, 2)
    assert _found(pixels[:1], pixels[1:]) == {(0, 1)}


def _pixels(picture: Image.Image, mode: str) -> NDArray[np.uint8]:
    pixels = np.array(picture.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _found(held: NDArray[np.uint8], train: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    rows = [Rows(pixels, np.arange(len(pixels))) for pixels in (held, train)]
    return {tuple(pair) for pair in near_pictures(*rows, np.arange(len(held)), _silent).tolist()}


def test_a_sample_is_compared_if_there_are_too_many_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_of_pictures, "_MOST_PAIRS", 100)
    monkeypatch.setattr(near_of_pictures, "_SAMPLED", 5)
    folder = _folder_with_splits(tmp_path)
    (note,) = _near_notes(_pictures(folder))
    assert note.startswith("5 of 5 (of 10) held out have")
    (note,) = _near_notes(_pictures(folder, dedup="near"))
    assert "of 10 held out" in note


def test_pictures_are_removed_from_training(tmp_path: Path) -> None:
    folder = _folder_with_splits(tmp_path)
    plain = _pictures(folder)
    assert (len(plain.train), len(plain.select)) == (40, 10) and "near_duplicates" not in plain.info["dropped"]
    data = _pictures(folder, dedup="near")
    assert (len(data.train), len(data.select)) == (30, 10)
    assert data.info["dropped"]["near_duplicates"] == 10
    assert _near_notes(data) == [
        "removed 10 from the training data that are near duplicates of 10 held out (such as val/0.png and train/0.png)"
    ]
    assert sorted(data.train.names) == sorted(f"train/{i}.png" for i in range(10, 40))
    assert _pictures(folder).train.rows.tolist() == plain.train.rows.tolist()


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    folder = _folder_with_splits(tmp_path, n=10)
    with pytest.raises(RequestError, match="nothing is left to train on"):
        _pictures(folder, dedup="near")


def _folder_with_splits(tmp_path: Path, n: int = 40) -> Path:
    """n training pictures, of which 10 are held out in another compression."""
    for i in range(n):
        (tmp_path / "set/train").mkdir(parents=True, exist_ok=True)
        _drawing(i).save(tmp_path / f"set/train/{i}.png")
    (tmp_path / "set/val").mkdir()
    for i in range(10):
        _again(_drawing(i)).save(tmp_path / f"set/val/{i}.png")
    return tmp_path / "set"


def test_what_was_found_is_remembered_beside_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder_with_splits(tmp_path)
    first = _pictures(folder)
    monkeypatch.setattr(near_of_pictures, "near_pictures", None)  # can't be called
    again = _pictures(folder)
    assert again.cached and again.notes == first.notes and again.info == first.info


# Texts


def test_a_changed_word_is_found(tmp_path: Path) -> None:
    rows = [_row(i) for i in range(300)]
    changed = [row.replace("river", "brook", 1).upper() for row in rows]
    (tmp_path / "a.txt").write_text("\n".join([*rows, *changed[:60]]))
    data = _texts(tmp_path / "a.txt")
    (note,) = _near_notes(data)
    near = data.info["understood"]["near_duplicates"]
    assert near["compared"] == data.select.n_docs + data.report.n_docs
    assert near["held_out"] > 3 and f"{near['held_out']:,} of {near['compared']:,} held out have near duplicates" in note
    held, train = near["examples"][0]
    assert held.casefold()[:8] == train.casefold()[:8] and held != train and "\n" not in note
    other = str(_other(tmp_path))
    plain = _texts(tmp_path / "a.txt", val=other)
    assert not _near_notes(plain) and "near_duplicates" not in plain.info["understood"]
    assert _near_notes(_texts(tmp_path / "a.txt", val=other, dedup="near")) == ["found no near duplicates of what is held out"]


def _other(folder: Path) -> Path:
    (folder / "other.txt").write_text("\n".join(_row(i) for i in range(5000, 5050)))
    return folder / "other.txt"


def test_short_texts_only_without_case_and_space(tmp_path: Path) -> None:
    held = ["Anna  Karenina", "War and Peace", "emma", ""]
    train = ["Ana Karenina", "war AND peace", "EMMA", "Emma Bovary"]
    near = near_texts(lambda: held, lambda: train, _silent)
    assert near.training == (1, 2) and near.held_out == 2 and near.examples[0] == ("'War and Peace'", "'war AND peace'")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9))
def test_agrees_with_comparing_everything(seed: int) -> None:
    """All that is found is near; what is very near is found."""
    rng = random.Random(seed)
    bases = [[rng.choice(WORDS) for _ in range(rng.randint(5, 60))] for _ in range(8)]
    texts = [_with_changes(rng.choice(bases), rng.choice([0, 1, 2, 8]), rng) for _ in range(60)]
    held, train = texts[:20], texts[20:]
    near = near_texts(lambda: held, lambda: train, _silent)
    similar = np.array([[_similarity(a, b) for b in train] for a in held])
    assert set(near.training) <= set(np.flatnonzero((similar >= 0.8).any(axis=0)).tolist())
    assert set(near.training) >= set(np.flatnonzero((similar >= 0.95).any(axis=0)).tolist())
    assert (similar >= 0.95).any(axis=1).sum() <= near.held_out <= (similar >= 0.8).any(axis=1).sum()


def _with_changes(words: list[str], n: int, rng: random.Random) -> str:
    changed = list(words)
    for _ in range(n):
        changed[rng.randrange(len(changed))] = rng.choice(WORDS)
    return rng.choice([str, str.upper, str.title])(" ".join(changed))


def _similarity(a: str, b: str) -> float:
    a, b = ("".join(text.lower().split()) for text in (a, b))
    if min(len(a), len(b)) < 50:
        return float(a == b)
    grams = [{text[i : i + 5] for i in range(len(text) - 4)} for text in (a, b)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def test_texts_are_removed_from_training(tmp_path: Path) -> None:
    rows = [_row(i) for i in range(300)]
    (tmp_path / "a.txt").write_text("\n".join([*rows, *(row.title() for row in rows)]))
    plain, data = _texts(tmp_path / "a.txt"), _texts(tmp_path / "a.txt", dedup="near")
    for split in ("select", "report"):
        ours, theirs = (list(documents(getattr(of, split), of.tokenizer)) for of in (plain, data))
        assert ours == theirs
    held = {text.lower() for part in (data.select, data.report) for text in documents(part, data.tokenizer)}
    kept = [text for text in documents(plain.train, plain.tokenizer) if text.lower() not in held]
    assert list(documents(data.train, data.tokenizer)) == kept
    n = plain.train.n_docs - len(kept)
    assert n > 20 and data.info["dropped"] == {**plain.info["dropped"], "near_duplicates": n}
    (note,) = _near_notes(data)
    assert note.startswith(f"removed {n} from the training data that are near duplicates of ")
    assert _texts(tmp_path / "a.txt", dedup="near").cached


def test_texts_that_are_not_searched_are_told(tmp_path: Path) -> None:
    held, longer = [_row(i) for i in range(20)], "\n".join(_row(i) for i in range(100))
    (tmp_path / "val.txt").write_text("\n".join(held))
    (tmp_path / "a").mkdir()
    for name, text in {"long": longer, **{str(i): _row(i) for i in range(100, 130)}}.items():
        (tmp_path / "a" / f"{name}.txt").write_text(text)
    request = TextRequest(str(tmp_path / "a"), val=str(tmp_path / "val.txt"), dedup="near")
    notes = prepare_text(request, progress=_silent).notes
    told = "1 training text is over 20 times as long as any held out, and not searched for copies of those inside"
    assert (told in notes) is (len(longer) > 20 * sum(map(len, held)))
    request = TextRequest(str(tmp_path / "a"), val=str(tmp_path / "a" / "100.txt"), dedup="near")
    assert told in prepare_text(request, progress=_silent).notes


def test_removed_against_validation_data(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(_row(i) for i in range(100)))
    (tmp_path / "val.txt").write_text("\n".join(_row(i).title() for i in range(90, 110)))
    val = str(tmp_path / "val.txt")
    assert "10 of 20 held out have near duplicates" in _near_notes(_texts(tmp_path / "a.txt", val=val))[0]
    data = _texts(tmp_path / "a.txt", val=val, dedup="near")
    assert list(documents(data.train, data.tokenizer)) == [_row(i) for i in range(90)] and data.select.n_docs == 20


@pytest.mark.parametrize("dedup", ["exact", "near"])
def test_one_text_that_is_cut_has_none(tmp_path: Path, dedup: str) -> None:
    (tmp_path / "a.txt").write_text(_row(1, 50) * 40)
    data = prepare_text(TextRequest(str(tmp_path / "a.txt"), dedup=dedup), progress=_silent)  # type: ignore[arg-type]
    assert not _near_notes(data) and "near_duplicates" not in data.info["understood"]


def test_many_texts_are_compared_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigc_cli.data.text.near._MOST_TEXTS", 500)
    rows = [_row(i) for i in range(300)]
    (tmp_path / "a.txt").write_text("\n".join([*rows, *(row.title() for row in rows)]))
    assert _near_notes(_texts(tmp_path / "a.txt")) == [
        "near duplicates of held-out texts were not looked for, as there are over 500 texts or 64 MB; --dedup near does"
    ]
    assert _texts(tmp_path / "a.txt", dedup="near").info["dropped"]["near_duplicates"]


def test_texts_of_one_band_are_all_compared() -> None:
    held = [_row(1, 40) + f" {'x' * (i % 7)}{i}" for i in range(60)]
    near = near_texts(lambda: held, lambda: [held[5].upper(), _row(2, 40)], _silent)
    assert near.training == (0,) and near.held_out == 60


# Both


def test_train_resume_and_eval_without_near_duplicates(tmp_path: Path, shell: Shell) -> None:
    rows = [_row(i, 12) for i in range(120)]
    (tmp_path / "a.txt").write_text("\n".join([*rows, *(row.title() for row in rows)]))
    train = ("train", "transformer", "--run", "r", "--device", "cpu", "--preset", "nano", "--context", 32, "--batch-size", 4)
    done = shell(*train, "--data", "a.txt", "--lines", "--dedup", "near", "--steps", 4, "--no-compile")
    assert done.returncode == 0 and "that are near duplicates of" in done.stderr, done.stderr
    record = json.loads((tmp_path / "runs/transformer/r/run.json").read_text())
    assert record["data"]["dropped"]["near_duplicates"] > 5 and record["plan"]["dedup"] == "near"
    longer = json.loads(shell.ok("train", "transformer", "--run", "r", "--resume", "--steps", 6, "--json"))
    assert longer["steps"] == 6
    assert json.loads(shell.ok("eval", "transformer", "--run", "r", "--n", 0, "--json"))["bits_per_char"]["value"] > 0
    again = shell("eval", "transformer", "--run", "r", "--n", 0, "--data", "a.txt", "--lines")
    known, of = (
        240
        - record["data"]["dropped"]["near_duplicates"]
        - sum(record["data"]["splits"][split]["documents"] for split in ("select", "report")),
        240,
    )
    assert f"{known} of {of} texts of a.txt are in the training data: their measures say little" in again.stderr
    finished = shell("train", "transformer", "--resume")
    assert finished.returncode == 2 and finished.stderr.startswith(
        "aigc: no transformer run to resume in runs; the newest is finished: to train it longer, "
        "aigc train transformer --run r --resume --steps N, with more than its 6 steps"
    )
    fewer = shell("train", "transformer", "--run", "r", "--resume", "--steps", 5)
    assert fewer.returncode == 2 and "--steps 5 is less than the 6 of run runs/transformer/r: omit it" in fewer.stderr
    refused = shell("train", "transformer", "--run", "r", "--resume", "--dedup", "exact", "--steps", 8)
    assert refused.returncode == 2 and "--dedup 'exact' contradicts run" in refused.stderr


def test_a_run_of_an_earlier_version_is_resumed_with_all_its_texts(tmp_path: Path, shell: Shell) -> None:
    rows = [_row(i, 12) for i in range(120)]
    (tmp_path / "a.txt").write_text("\n".join([*rows, *(row.title() for row in rows)]))
    train = ("train", "transformer", "--run", "r", "--device", "cpu", "--preset", "nano", "--context", 32, "--batch-size", 4)
    shell.ok(*train, "--data", "a.txt", "--lines", "--steps", 4, "--no-compile")
    path = tmp_path / "runs/transformer/r/run.json"
    record = json.loads(path.read_text())
    assert record["plan"].pop("dedup") == record["asked"].pop("dedup") == "exact"
    del record["data"]["understood"]
    path.write_text(json.dumps(record))
    shell.ok("train", "transformer", "--run", "r", "--resume", "--steps", 6)
    assert json.loads(path.read_text())["data"]["splits"] == record["data"]["splits"]
