"""`--codes`: a VAE whose latents are discrete, from inside, through its commands and as a codec."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Shell, settled
from test_gan_learner import blobs

from aigc_cli.backends.codecs import codec_backend, open_codec
from aigc_cli.backends.vae.codes.codec import PictureCodec, load_codec
from aigc_cli.backends.vae.codes.learner import ADVERSARIAL, CodeLearner
from aigc_cli.backends.vae.codes.presets import decide_codes
from aigc_cli.backends.vae.codes.quantiser import MOST_CODES, check_levels, codes_of, of_codes, quantise
from aigc_cli.backends.vae.config import Train
from aigc_cli.backends.vae.model import VAE
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.data.pictures.changes import Changes
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.engine.device import seed_everything
from aigc_cli.engine.events import Bus
from aigc_cli.engine.planning.budget import plan_for_steps
from aigc_cli.engine.runs.finding import find_run
from aigc_cli.engine.trainer import Trainer
from aigc_cli.errors import RequestError
from aigc_cli.metrics.latents.code_usage import code_entropy, codes_in_use

STEPS = 40
CODES = ["--codes", "--preset", "nano", "--batch-size", "16"]

# The quantiser


@pytest.mark.parametrize("levels", [(2,), (3,), (8, 5, 5, 5), (2, 3, 4), (256, 256)])
def test_every_code_is_that_of_its_latents(levels: tuple[int, ...]) -> None:
    codes = torch.arange(math.prod(levels)).view(1, -1)
    z = of_codes(codes, levels)
    assert z.shape == (1, len(levels), codes.numel())
    assert torch.equal(codes_of(z, levels), codes)
    assert float(z.min()) == -1 and float(z.max()) == 1
    assert torch.equal(quantise(z.clamp(-0.9999, 0.9999).atanh(), levels), z)


def test_the_first_level_is_the_least_significant_digit() -> None:
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))
    expected = [a + 2 * b + 2 * 3 * c for a, b, c in itertools.product((0, 1), (0, 2), (0, 3))]
    assert codes_of(corners, (2, 3, 4)).tolist() == expected


def test_latents_are_rounded_to_the_nearest_level() -> None:
    h = torch.tensor([[-1e9, -0.3, -0.1, 0.0, 0.2, 0.6, math.inf]]).unsqueeze(0)
    assert quantise(h, (3,)).tolist() == [[[-1, 0, 0, 0, 0, 1, 1]]]
    assert quantise(h[:, :, [0, 1, 4, 6]], (2,)).tolist() == [[[-1, -1, 1, 1]]]


def test_the_gradient_is_that_of_tanh() -> None:
    h = torch.randn(3, 4, 5, requires_grad=True)
    weights = torch.randn(3, 4, 5)
    (straight,) = torch.autograd.grad((quantise(h, (8, 5, 5, 5)) * weights).sum(), h)
    (smooth,) = torch.autograd.grad((h.tanh() * weights).sum(), h)
    torch.testing.assert_close(straight, smooth)


@pytest.mark.parametrize("levels", [(), (1, 5), (5.0,), (True, 5), ("8",), (2,) * 17, (257, 256), (2**40,)])
def test_levels_that_make_no_codes_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match="levels"):
        check_levels(levels)
    assert math.prod((256, 256)) == MOST_CODES


# The network and its training


def config(**changes: object) -> VAEConfig:
    shape = {
        "height": 13, "width": 10, "channels": 4, "latent": 0, "widths": (8, 12), "blocks": (1, 1), "vector_width": 1, "vector_blocks": 0,
        "likelihood": "picture", "prior": "none", "latent_map": 3, "levels": (5, 4, 3),
    }  # fmt: skip
    return VAEConfig(**(shape | changes))


@pytest.mark.parametrize(
    "changes", [{"latent_map": 4}, {"latent": 2}, {"prior": "matching"}, {"levels": ()}, {"levels": (1, 4, 3)}]
)
def test_a_shape_that_has_no_codes_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        config(**changes)


def test_a_network_s_codes_are_read_row_by_row() -> None:
    model = VAE(config())
    z = model.encode(torch.rand(2, 4, 13, 10)).mean
    codes = model.codes(z)
    assert codes.shape == (2, 4 * 3)
    assert torch.equal(model.latents(codes.unflatten(1, (4, 3))), z)
    moved = z.unflatten(1, (3, 4, 3)).clone()
    moved[:, :, 1, 2] = -1.0  # the second row's third place, with the lowest digits
    assert (model.codes(moved.flatten(1))[:, 1 * 3 + 2] == 0).all()


def test_what_is_projected_is_of_one_size_at_every_place_however_large_features_grow() -> None:
    encoder = VAE(config()).encoder
    seen: list[torch.Tensor] = []
    encoder.local.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        encoder.halve[-1].weight.mul_(1e3)
        encoder(torch.rand(2, 4, 13, 10))
    torch.testing.assert_close(seen[0].square().mean(1), torch.ones(2, 4, 3), atol=1e-3, rtol=0)


def trainer(**options: object) -> Trainer:
    data = blobs()
    asked = dataclasses.replace(Train(codes=True, preset="nano", batch_size=16, steps=STEPS), **options)
    plan = plan_for_steps(decide_codes(settled(asked), data, 1.0)[0], asked, len(data.select))

    def build() -> CodeLearner:
        seed_everything(plan.seed)
        return CodeLearner(plan, data, torch.device("cpu"))

    return Trainer(build, plan, torch.device("cpu"), Bus())


def test_codes_of_sounds_are_learned_from_moved_and_louder_ones_too() -> None:
    data = blobs()
    plan = decide_codes(settled(Train(codes=True, preset="nano", batch_size=16, steps=STEPS)), data, 1.0)[0]
    may = Changes(down=0, beyond=-1.0, brightness=0.2, contrast=False, black_stays=True, reconstructed=True)
    of_pictures, of_sounds = (
        CodeLearner(plan, of, torch.device("cpu")) for of in (data, dataclasses.replace(data, changes=may))
    )
    pixels = torch.full((200, 16, 16, 1), 128, dtype=torch.uint8)
    given = of_pictures.seen(pixels)
    assert torch.equal(of_pictures.varied(pixels), given)
    torch.manual_seed(0)
    varied = of_sounds.varied(pixels)
    moved = (varied == 0).any((1, 2, 3))
    louder = ((varied.amax((1, 2, 3)) - given.amax()).abs() > 1e-4) & (varied.amax((1, 2, 3)) <= 128 / 255 + 0.1 + 1e-6)
    for share in (moved.float().mean() / 0.8, louder.float().mean()):  # a fifth of the moves are by nothing
        assert share == pytest.approx(0.5, abs=0.12)
    assert (varied.amin(2) == varied.amax(2)).all()  # whole frames


@pytest.mark.usefixtures("one_thread")
def test_the_autoencoder_has_all_steps_and_the_discriminator_the_last_ones() -> None:
    made = trainer()
    names = [[phase.optimizer for phase in made.learner.phases(step, made.plan)] for step in range(STEPS)]
    first = round(ADVERSARIAL * STEPS)
    assert names == [["autoencoder"]] * first + [["autoencoder", "discriminator"]] * (STEPS - first)
    before = made.evaluate(32)
    for step in range(STEPS):
        made.step(made.learner.batch(step), step)
    after = made.evaluate(32)
    assert after["reconstruction_error"] < 0.6 * before["reconstruction_error"]
    assert 1 < after["codes_in_use"] <= 1000


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"objective": "likelihood"}, "--objective likelihood"),
        ({"conditional": True}, "--conditional"),
        ({"prior": "normal"}, "--prior"),
        ({"latent": 16}, "--latent"),
        ({"latent_map": 3}, "--latent-map"),
        ({"beta": 0.5}, "--beta"),
        ({"levels": "8,x"}, "--levels 8,x"),
        ({"levels": "8,1"}, "--levels 8,1"),
        ({"levels": "256,256,2"}, "--levels 256,256,2"),
    ],
)
def test_what_codes_can_t_have_is_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        decide_codes(settled(dataclasses.replace(Train(codes=True), **options)), blobs(), 1e12)


# The commands


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    module_shell.ok(
        "train", "vae", "--data", "demo:shapes?n=400", "--size", "12x10", *CODES, "--levels", "5,4,3", "--steps", "60", "--run", "c", "-q"
    )  # fmt: skip
    return module_shell


def pictures(shell: Shell, *arguments: object, out: str) -> np.ndarray:
    shell.ok(*arguments, "--out", out, "-q")
    with np.load(shell.cwd / out) as arrays:
        return np.asarray(arrays["pictures"])


@pytest.mark.parametrize("table", ["l.jsonl", "l.tsv", "l.npz", "l.parquet"])
def test_encode_then_decode_is_reconstruct(trained: Shell, table: str) -> None:
    there = "demo:shapes?n=6&seed=5"
    trained.ok("encode", "vae", "--run", "c", "--data", there, "--out", table, "--force", "-q")
    decoded = pictures(trained, "decode", "vae", "--run", "c", "--from", table, out=f"{table}.npz")
    direct = pictures(trained, "sample", "vae", "--run", "c", "--reconstruct", there, "-n", 6, out=f"{table}-direct.npz")
    assert np.abs(decoded.astype(int) - direct).max() <= 1
    if table == "l.jsonl":
        rows = [json.loads(line) for line in (trained.cwd / table).read_text().splitlines()]
        assert set(rows[0]) == {"name", "codes"}
        assert len(rows[0]["codes"]) == 6 * 5
        assert all(isinstance(code, int) and 0 <= code < 60 for row in rows for code in row["codes"])


def test_a_sample_needs_a_transformer(trained: Shell) -> None:
    done = trained("sample", "vae", "--run", "c", "-n", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "aigc: run c turns pictures into codes and back, and a Transformer learns to draw codes; train one with: "
        "aigc train transformer --data 'demo:shapes?n=400' --codec c\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--traverse"],
        ["--interpolate", "a.png", "b.png"],
        ["--reconstruct", "demo:shapes?n=2", "--guidance", "2"],
        ["--reconstruct", "demo:shapes?n=2", "--sampling-steps", "2"],
        ["--reconstruct", "demo:shapes?n=2", "--label", "cross"],
    ],
)
def test_what_codes_can_t_do_is_refused_in_a_line(trained: Shell, arguments: list[str]) -> None:
    done = trained("sample", "vae", "--run", "c", *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert any(argument in done.stderr for argument in arguments if argument.startswith("--"))


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        ([0] * 29, "29 numbers, but this model's have 30"),
        ([0] * 29 + [60], "row 1: code 30 is 60"),
        ([0.5] + [0] * 29, "row 1: code 1 is 0.5"),
        ([-1] + [0] * 29, "row 1: code 1 is -1"),
    ],
)
def test_codes_that_the_model_doesn_t_have_are_refused(trained: Shell, codes: list[float], why: str) -> None:
    done = trained("decode", "vae", "--run", "c", "--from", "-", input=json.dumps({"codes": codes}))
    assert done.returncode == 2 and why in done.stderr and done.stderr.count("\n") == 1


def test_it_is_measured_by_its_reconstructions_and_the_use_of_its_codes(trained: Shell) -> None:
    measures = json.loads(trained.ok("eval", "vae", "--run", "c", "--json"))
    assert {"psnr", "ssim", "codes_in_use", "code_entropy", "reconstruction_fd_random", "reconstruction_kd_random"} <= set(
        measures
    )
    assert not {"nll", "elbo", "kd_random", "active_units", "information"} & set(measures)
    assert measures["codes_in_use"]["of"] == 60 and 1 < measures["codes_in_use"]["value"] <= 60
    assert 0 < measures["code_entropy"]["value"] <= math.log2(60)
    distance = measures["reconstruction_kd_random"]
    assert distance["value"] > distance["floor"]["value"] and distance["n"] == distance["floor"]["n"]


def test_levels_without_codes_are_refused(module_shell: Shell) -> None:
    for objective in ("likelihood", "samples"):
        done = module_shell("train", "vae", "--data", "demo:shapes?n=100", "--objective", objective, "--levels", "8,5")
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == "aigc: --levels is for --codes; remove it, or add --codes"


# The codec


@pytest.fixture(scope="module")
def folder(trained: Shell) -> Path:
    return trained.cwd / "runs" / "vae" / "c" / "model"


def some_pictures(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 10, 12, 3), dtype=np.uint8)


def test_a_run_is_a_codec(trained: Shell, folder: Path) -> None:
    run = find_run(trained.cwd / "runs", "vae", "c")
    before = torch.get_rng_state()
    codec = open_codec(run, "cpu")
    assert torch.equal(before, torch.get_rng_state())
    assert (codec.n_codes, codec.grid) == (60, (5, 6))
    assert (codec.format.height, codec.format.width, codec.format.mode) == (10, 12, "RGB")
    pixels = some_pictures(40)
    codes = codec.encode(pixels)
    assert codes.shape == (40, 30) and codes.dtype == np.int64
    assert np.array_equal(codec.encode(pixels[33:35]), codes[33:35])
    again = codec.decode(codes)
    assert again.shape == pixels.shape and again.dtype == np.uint8
    assert np.array_equal(codec.decode(codes[3:4]), again[3:4])
    assert codec.encode(pixels[:0]).shape == (0, 30) and codec.decode(codes[:0]).shape == (0, 10, 12, 3)


def test_a_copy_is_the_same_codec(folder: Path, tmp_path: Path) -> None:
    codec = load_codec(folder, "cpu")
    codec.save(tmp_path / "codec")
    copy = open_codec(tmp_path / "codec", "cpu")
    pixels = some_pictures(3)
    assert np.array_equal(copy.encode(pixels), codec.encode(pixels))
    assert copy.data == codec.data == {"kind": "pictures", "format": codec.format.to_json()}


def test_what_a_codec_does_not_take_is_refused() -> None:
    codec = PictureCodec(VAE(config()), {"format": PictureFormat(13, 10, "RGBA").to_json()}, torch.device("cpu"))
    with pytest.raises(RequestError, match="shape"):
        codec.encode(np.zeros((1, 10, 13, 4), np.uint8))
    with pytest.raises(RequestError, match="bytes"):
        codec.encode(np.zeros((1, 13, 10, 4), np.float32))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="12 codes a picture"):
        codec.decode(np.zeros((1, 13), np.int64))
    with pytest.raises(RequestError, match="between 0 and 59"):
        codec.decode(np.full((1, 12), 60))


def test_a_folder_that_is_no_whole_codec_is_refused(folder: Path, tmp_path: Path) -> None:
    def damaged(**files: str) -> Path:
        to = Path(shutil.copytree(folder, tmp_path / str(len(list(tmp_path.iterdir())))))
        for name, text in files.items():
            (to / f"{name}.json").write_text(text)
        return to

    written = json.loads((folder / "config.json").read_text())
    format = json.loads((folder / "format.json").read_text())["format"]
    bad = {
        "not a readable": tmp_path,
        "has the number": damaged(config=json.dumps(written | {"levels": [2**40, 1, 1]})),
        "levels": damaged(config=json.dumps(written | {"levels": [2**14, 2**14, 2**14]})),
        "prior": damaged(config=json.dumps(written | {"levels": []})),
        "do not match": damaged(config=json.dumps(written | {"widths": [8]})),
        "not the format": damaged(format="{}"),
        "'CMYK'": damaged(format=json.dumps(format | {"mode": "CMYK"})),
        "another shape": damaged(format=json.dumps(format | {"height": 11})),
    }
    for why, of in bad.items():
        with pytest.raises(RequestError, match=why):
            open_codec(of, "cpu")


def test_other_runs_are_no_codecs(module_shell: Shell) -> None:
    train = ["--data", "demo:shapes?n=100", "--size", "8", "--preset", "nano", "--steps", "2", "-q"]
    for backend, why in (("gan", "no codec"), ("vae", "without codes")):
        module_shell.ok("train", backend, *train, "--run", "other")
        with pytest.raises(RequestError, match=why):
            open_codec(find_run(module_shell.cwd / "runs", backend, "other"), "cpu")


def test_the_backend_that_makes_codecs_says_how_to_train_one() -> None:
    backend = codec_backend()
    assert backend.name == "vae"
    options = backend.options["train"](**backend.codec_options)
    assert isinstance(options, Train) and options.codes


# The measures


def test_the_use_of_codes_is_that_of_their_shares() -> None:
    codes = np.array([[0, 0, 1, 2]] * 50)
    entropy = code_entropy(codes, 8)
    assert entropy.value == pytest.approx(1.5)
    assert entropy.extra["most"] == 3 and entropy.n == 50
    assert entropy.low == pytest.approx(1.5) and entropy.high == pytest.approx(1.5)
    used = codes_in_use(codes, 8)
    assert (used.value, used.extra["of"], used.n) == (3, 8, 50)
    assert code_entropy(np.zeros((3, 4), np.int64), 8).value == 0
