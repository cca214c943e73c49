"""Pictures with several labels: read from any source, learned by both generators, and chosen or left out when sampling."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Shell
from PIL import Image

from aigc_cli.backends.gan.model import Discriminator, GANConfig, Generator
from aigc_cli.backends.pictures.batches import PictureBatches, without_some
from aigc_cli.backends.pictures.choice import chosen_numbers, in_turn, label_text, labels_in_turn
from aigc_cli.backends.pictures.layers import LabelEmbedding
from aigc_cli.data.pictures.dataset import PictureDataset, PictureRequest, prepare_pictures, read_pictures
from aigc_cli.data.pictures.labels import joined, label_columns, separated
from aigc_cli.errors import RequestError

COLOURS, KINDS = ("blue", "red"), ("dot", "line", "ring")
CLASSES = {"colour": COLOURS, "kind": KINDS}
N = 48
LABELS = [(COLOURS[i % 2], KINDS[i % 3] if i % 8 else None) for i in range(N)]  # a missing kind now and then


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _source(folder: Path, form: str) -> tuple[str, str]:
    """The same pictures and labels in every form that gives labels, and what --label is for it."""
    pixels = _pixels()
    colours, kinds = zip(*LABELS, strict=True)
    match form:
        case "metadata":
            for number, picture in enumerate(pixels):
                Image.fromarray(picture).save(folder / f"{number:02}.png")
            with (folder / "metadata.csv").open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["file_name", "kind", "colour"])
                rows.writerows([f"{number:02}.png", kind, colour] for number, (colour, kind) in enumerate(LABELS))
            return str(folder), "colour,kind"
        case "parquet":
            cells = [{"bytes": _png(picture), "path": None} for picture in pixels]
            pq.write_table(pa.table({"image": cells, "kind": kinds, "colour": colours}), folder / "a.parquet")
            return str(folder / "a.parquet"), "colour, kind"
        case "arrays":
            texts = {"colour": np.array(colours), "kind": np.array([kind or "" for kind in kinds])}
            np.savez(folder / "a.npz", images=pixels, **texts)
            return str(folder / "a.npz"), "colour,kind"
        case _:
            with tarfile.open(folder / "a.tar", "w") as archive:
                for number, picture in enumerate(pixels):
                    fields = {"colour": colours[number], "kind": kinds[number]}
                    for suffix, content in (("png", _png(picture)), ("json", json.dumps(fields).encode())):
                        member = tarfile.TarInfo(f"{number:02}.{suffix}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
            return str(folder / "a.tar"), "colour,kind"


def _prepare(data: str, label: str, **more: Any) -> PictureDataset:
    return prepare_pictures(PictureRequest(data, label=label, conditional=True, **more), progress=lambda *_: None)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize("form", ["metadata", "parquet", "arrays", "webdataset"])
def test_every_source_gives_several_labels_and_may_lack_some(form: str, tmp_path: Path) -> None:
    (folder := tmp_path / "d").mkdir()
    data, label = _source(folder, form)
    dataset = _prepare(data, label)
    assert dataset.classes == CLASSES and dataset.info["classes"] == {name: [*of] for name, of in CLASSES.items()}
    of_pixels = {picture.tobytes(): labels for picture, labels in zip(_pixels(), LABELS, strict=True)}
    for arrays in (dataset.train, dataset.select, dataset.report):
        assert arrays.labels is not None and arrays.labels.shape == (len(arrays), 2)
        for picture, (colour, kind) in zip(arrays.take(range(len(arrays))), arrays.labels.tolist(), strict=True):
            expected = of_pixels[picture.tobytes()]
            assert (COLOURS[colour], KINDS[kind] if kind >= 0 else None) == expected
    counts = dataset.info["understood"]["classes"]
    assert counts["colour"] == {"blue": 24, "red": 24} and sum(counts["kind"].values()) == N - 6
    assert any(note.startswith("'kind': 6 pictures are in no class") for note in dataset.notes)
    again = read_pictures(data, dataset.format, classes=dataset.classes, progress=lambda *_: None)
    assert again.labels is not None and (again.labels >= 0).sum() == 2 * N - 6
    with pytest.raises(RequestError, match="name a column for each of the model's labels: colour, kind"):
        read_pictures(data, dataset.format, classes=dataset.classes, label="colour", progress=lambda *_: None)


def test_shapes_have_colours_as_labels_too() -> None:
    dataset = _prepare("demo:shapes?n=60", "colour,shape", size=(8, 8))
    assert [*dataset.classes] == ["colour", "shape"] and dataset.train.labels is not None
    both = dataset.train.factors["colour"], dataset.train.factors["shape"]
    assert len({*zip(*both, strict=True)}) == len({*map(tuple, dataset.train.labels.tolist())})  # one to one
    assert len(_prepare("demo:shapes?n=60", "colour", size=(8, 8)).classes) == 6
    with pytest.raises(RequestError, match="no label 'size', only shape and colour"):
        _prepare("demo:shapes?n=60", "colour,size")
    with pytest.raises(RequestError, match="demo:scenes has no labels"):
        _prepare("demo:scenes", "colour")


def test_names_of_columns() -> None:
    assert label_columns("a, b") == ("a", "b") and label_columns("a,b", ["a,b"]) == ("a,b",)
    with pytest.raises(RequestError, match="names 'a' twice"):
        label_columns("a,b,a")
    with pytest.raises(RequestError, match="no name after a comma"):
        label_columns("a,")
    assert separated(str(joined(["x", None, "z"]))) == ["x", None, "z"] and joined([None, None]) is None


@pytest.mark.parametrize(
    ("label", "wrong"),
    [
        ("colour,size", "no column 'size'"),
        ("colour,colour", "names 'colour' twice"),
        ("colour,same", "'same' has only the class 'x'"),
    ],
)
def test_columns_that_cannot_be_labels(label: str, wrong: str, tmp_path: Path) -> None:
    cells = [{"bytes": _png(picture), "path": None} for picture in _pixels()]
    pq.write_table(pa.table({"image": cells, "colour": [of[0] for of in LABELS], "same": ["x"] * N}), tmp_path / "a.parquet")
    with pytest.raises(RequestError, match=wrong):
        _prepare(str(tmp_path / "a.parquet"), label)


def test_a_label_is_chosen_by_its_name_or_by_a_class_that_only_it_has() -> None:
    classes = {"colour": ("blue", "red", "red, light"), "of": ("9", "red")}
    assert chosen_numbers("colour=red,of=9", classes) == (1, 0)
    assert chosen_numbers("of=red", classes) == (-1, 1)
    assert chosen_numbers("9, blue", classes) == (0, 0)
    assert chosen_numbers(label_text({"colour": "red, light", "of": "red"}), classes) == (2, 1)
    assert chosen_numbers("1", ("cat", "dog")) == (1,)
    for text, wrong in (
        ("red", "'red' is a class of 'colour' and 'of'; write colour=red"),
        ("colour=blu", "the label 'colour' has no class 'blu'; it has blue, red, red, light; did you mean"),
        ("size=3", "there is no label 'size'; the model has colour, of"),
        ("green", "no label has the class 'green'; the model has colour: blue"),
        ("blue,colour=red", "gives 'colour' twice"),
    ):
        with pytest.raises(RequestError, match=wrong):
            chosen_numbers(text, classes)


def test_pictures_take_turns_through_all_combinations() -> None:
    assert len({in_turn(CLASSES, index) for index in range(6)}) == 6 and in_turn(CLASSES, 6) == in_turn(CLASSES, 0)
    assert labels_in_turn(CLASSES, 5).shape == (5, 2) and labels_in_turn(("a", "b"), 3).tolist() == [0, 1, 0]


def test_vectors_of_several_labels_add_up() -> None:
    torch.manual_seed(0)
    several, first, second = LabelEmbedding((2, 3), 5), LabelEmbedding(2, 5), LabelEmbedding(3, 5)
    assert several.state_dict().keys() == first.state_dict().keys()
    for of in (several, first, second):
        assert of.vectors is not None
        torch.nn.init.normal_(of.vectors)
    with torch.no_grad():
        several.vectors.copy_(torch.cat([first.vectors, second.vectors]))  # type: ignore[union-attr, list-item]
    labels = torch.tensor([[0, 2], [1, -1], [-1, 0], [-1, -1]])
    h = torch.randn(4, 5)
    assert torch.allclose(several(h, labels), second(first(h, labels[:, 0]), labels[:, 1]))


def test_a_gan_of_several_labels_heeds_each_of_them(tmp_path: Path) -> None:
    config = GANConfig(
        height=8, width=8, channels=3, latent=4, widths=(8,), blocks=(1,), vector_width=16, n_classes=(2, 3)
    )  # fmt: skip
    assert GANConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    for network in (Generator(config), Discriminator(config)):
        for name, parameter in network.named_parameters():
            if name in ("label.vectors", "classes"):
                torch.nn.init.normal_(parameter)
        x = torch.randn(1, 4) if isinstance(network, Generator) else torch.randn(1, 3, 8, 8)
        found = [network(x, torch.tensor([labels])) for labels in ((0, 0), (1, 0), (0, 2), (-1, 0), (0, -1), (-1, -1))]
        assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


def test_some_labels_are_dropped_alone_and_all_together() -> None:
    labels = without_some(torch.zeros(20_000, 2, dtype=torch.int64), np.random.default_rng(0))
    first, second = (labels == -1).T
    for share, expected in ((first, 0.19), (first & ~second, 0.081), (first & second, 0.109), (~first & ~second, 0.729)):
        assert float(share.double().mean()) == pytest.approx(expected, abs=0.01)


def test_batches_drop_the_same_labels_when_a_run_is_resumed(tmp_path: Path) -> None:
    (folder := tmp_path / "d").mkdir()
    train = _prepare(*_source(folder, "arrays")).train
    batches = [PictureBatches(train, 16, 3)(5)["labels"] for _ in range(2)]
    assert torch.equal(*batches) and not torch.equal(batches[0], PictureBatches(train, 16, 4)(5)["labels"])


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    """Runs of each generator on shapes with two labels."""
    data = ["--data", "demo:shapes?n=300", "--size", 8, "--label", "colour,shape", "--conditional", "--preset", "nano", "-q"]
    module_shell.ok("train", "gan", *data, "--steps", 4, "--run", "gan")
    module_shell.ok("train", "vae", *data, "--steps", 4, "--run", "plain")
    module_shell.ok("train", "vae", *data, "--steps", 12, "--run", "sharp", "--objective", "samples", "--batch-size", 8)
    return module_shell


def _drawn(shell: Shell, *arguments: object) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Pictures, and what --json says of them."""
    shell.ok("sample", *arguments, "--seed", 1, "-q", "--out", "drawn.npz", "--force")
    lines = shell.ok("sample", *arguments, "--seed", 1, "-q", "--out", "drawn", "--force", "--json").splitlines()
    with np.load(shell.cwd / "drawn.npz") as arrays:
        return np.asarray(arrays["pictures"]), [json.loads(line) for line in lines]


@pytest.mark.parametrize("run", [("gan", "gan"), ("vae", "plain"), ("vae", "sharp")])
def test_any_label_can_be_left_out_of_sampling(run: tuple[str, str], trained: Shell) -> None:
    asked = (run[0], "--run", run[1], "-n", 2)
    for label, known in (("colour=red,shape=cross", ["red", "cross"]), ("cross", [None, "cross"]), ("red", ["red", None])):
        pixels, records = _drawn(trained, *asked, "--label", label)
        assert len(pixels) == 2
        assert all([record.get("label_colour"), record.get("label_shape")] == known for record in records)
    _, records = _drawn(trained, run[0], "--run", run[1], "-n", 24)
    assert len({(record["label_colour"], record["label_shape"]) for record in records}) == 24
    wrong = trained("sample", run[0], "--run", run[1], "--label", "colour=pink")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "'colour' has no class 'pink'" in wrong.stderr


@pytest.mark.parametrize(("run", "tables"), [("plain", ("l.tsv", "l.npz")), ("sharp", ("l.jsonl", "l.parquet"))])
def test_latents_of_pictures_with_several_labels_decode_to_their_reconstructions(
    run: str, tables: tuple[str, ...], trained: Shell
) -> None:
    source = ["--data", "demo:shapes?n=5&seed=2", "--run", run]
    for name in tables:
        trained.ok("encode", "vae", *source, "--out", name, "--force", "-q")
        trained.ok("decode", "vae", "--run", run, "--from", name, "--out", f"{name}.npz", "--force", "-q")
    if "l.tsv" in tables:
        header = (trained.cwd / "l.tsv").read_text().splitlines()[0].split("\t")
        assert header[:3] == ["name", "label_colour", "label_shape"]
    expected, records = _drawn(trained, "vae", "--run", run, "--reconstruct", "demo:shapes?n=5&seed=2")
    assert all("label_colour" in record and "label_shape" in record for record in records)
    for name in tables:
        with np.load(trained.cwd / f"{name}.npz") as arrays:
            assert np.abs(arrays["pictures"].astype(int) - expected).max() <= 1


def test_a_picture_without_labels_is_reconstructed_traversed_and_interpolated(trained: Shell) -> None:
    pixels, _ = _drawn(trained, "vae", "--run", "plain", "-n", 2)
    for name, picture in zip("ab", pixels, strict=True):
        Image.fromarray(picture).save(trained.cwd / f"{name}.png")
    way, records = _drawn(trained, "vae", "--run", "plain", "--interpolate", "a.png", "b.png", "-n", 3)
    assert len(way) == 3 and "label_colour" not in records[0]
    _, records = _drawn(trained, "vae", "--run", "plain", "--interpolate", "a.png", "b.png", "-n", 3, "--label", "red")
    assert records[0]["label_colour"] == "red" and "label_shape" not in records[0]
    _, records = _drawn(trained, "vae", "--run", "plain", "--traverse", "-n", 2)
    assert len({(record["label_colour"], record["label_shape"]) for record in records}) == 1


def test_guidance_exaggerates_the_labels_that_are_given(trained: Shell) -> None:
    asked = ("vae", "--run", "sharp", "-n", 2, "--label", "shape=cross")
    plain, guided = (_drawn(trained, *asked, *more)[0] for more in ((), ("--guidance", 8)))
    assert plain.shape == guided.shape


@pytest.mark.parametrize("backend", ["gan", "vae"])
def test_eval_reports_each_label(backend: str, trained: Shell) -> None:
    run = "gan" if backend == "gan" else "plain"
    more = [] if backend == "gan" else ["--k", 2]
    done = trained.ok("eval", backend, "--run", run, "-n", 50, "--features", "labels", "--json", "-q", *more)
    found = json.loads(done)
    for label, n in (("colour", 6), ("shape", 4)):
        assert len(found[f"class_shares_{label}"]["shares"]) == n
        assert 0 <= found["fd_labels"][f"accuracy_{label}"]["value"] <= 1
    assert found["fd_labels"]["dimensions"] == 128
