"""`--objective samples`: a VAE trained in two stages, from inside and through its commands."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import Shell, settled
from test_gan_learner import blobs

from aigc_cli.backends.vae.config import Train
from aigc_cli.backends.vae.loss import reconstruction_error
from aigc_cli.backends.vae.priors.flow_matching import UNTRAINED
from aigc_cli.backends.vae.two_stage.discriminator import PatchDiscriminator
from aigc_cli.backends.vae.two_stage.learner import ADVERSARIAL, PRIOR, TwoStageLearner
from aigc_cli.backends.vae.two_stage.presets import decide_two_stages
from aigc_cli.engine.device import seed_everything
from aigc_cli.engine.events import Bus
from aigc_cli.engine.planning.budget import plan_for_steps
from aigc_cli.engine.step import read
from aigc_cli.engine.trainer import Trainer
from aigc_cli.errors import RequestError

STEPS = 40
SAMPLES = ["--objective", "samples", "--preset", "nano", "--batch-size", "16"]


def trainer(**options: object) -> Trainer:
    data = blobs(two_classes=True)
    asked = dataclasses.replace(Train(objective="samples", preset="nano", batch_size=16, steps=STEPS), **options)
    plan = plan_for_steps(decide_two_stages(settled(asked), data, 1.0)[0], asked, len(data.select))

    def build() -> TwoStageLearner:
        seed_everything(plan.seed)
        return TwoStageLearner(plan, data, torch.device("cpu"))

    return Trainer(build, plan, torch.device("cpu"), Bus())


def state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.usefixtures("one_thread")
def test_the_stages_train_one_after_the_other() -> None:
    made = trainer()
    learner = made.learner
    assert isinstance(learner, TwoStageLearner)
    names = [[phase.optimizer for phase in learner.phases(step, made.plan)] for step in range(STEPS)]
    first, second = round(ADVERSARIAL * STEPS), round(PRIOR * STEPS)
    assert names[:first] == [["autoencoder"]] * first
    assert names[first:second] == [["autoencoder", "discriminator"]] * (second - first)
    assert names[second:] == [["prior"]] * (STEPS - second)

    before = made.evaluate(32)
    assert "flow_matching" not in before
    assert before["held_out_loss"] == before["reconstruction_error"] + UNTRAINED
    for step in range(second):
        assert not learner.prior.started
        made.step(learner.batch(step), step)
    assert learner.prior.started
    encoder, decoder = state(learner.model.encoder), state(learner.model.decoder)
    after_first = made.evaluate(32)
    assert after_first["reconstruction_error"] < 0.7 * before["reconstruction_error"]
    for step in range(second, STEPS):
        (values,) = read([made.step(learner.batch(step), step)])
        assert set(values) == {"prior_loss", "prior_grad_norm"}
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in learner.model.encoder.state_dict().items())
    assert all(torch.equal(tensor, decoder[name]) for name, tensor in learner.model.decoder.state_dict().items())
    assert made.evaluate(32)["flow_matching"] < after_first["flow_matching"] < 1.2 * UNTRAINED


@pytest.mark.usefixtures("one_thread")
def test_each_stage_has_a_schedule_of_its_own() -> None:
    made = trainer(warmup=4)
    second = round(PRIOR * STEPS)
    factors = [made.learner.lr_factor(step, made.plan) for step in range(STEPS)]
    assert factors[0] == factors[second] == pytest.approx(0.2)
    assert factors[second - 1] < 0.1 and factors[-1] < 0.1
    assert max(factors[:second]) > 0.7 and max(factors[second:]) > 0.7
    assert min(factors) > 0


@pytest.mark.usefixtures("one_thread")
def test_latents_are_standardised_as_they_are_when_the_prior_starts() -> None:
    made = trainer()
    learner = made.learner
    assert isinstance(learner, TwoStageLearner)
    for step in range(round(PRIOR * STEPS)):
        made.step(learner.batch(step), step)
    x = learner.seen(torch.from_numpy(learner.data.train.take(np.arange(len(learner.data.train)))))
    with torch.no_grad():
        posterior = learner.model.encode(x)
        tokens = posterior.sample(torch.randn_like(posterior.mean)).unflatten(1, (learner.prior.shape[0], -1))
    standard = (tokens - learner.prior.mean[:, None]) / learner.prior.std[:, None]
    assert float(standard.mean()) == pytest.approx(0, abs=0.1)
    assert float(standard.std()) == pytest.approx(1, abs=0.1)


def test_the_error_of_a_reconstruction_is_that_of_its_formula() -> None:
    x = torch.zeros(2, 3, 4, 4)
    error = reconstruction_error(x + 0.25, x)  # d = 0.5 on the scale [-1, 1]
    torch.testing.assert_close(error, torch.full((2,), 0.75))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (9, 7), (3, 2), (1, 1)])
def test_patches_are_scored_at_any_size_and_each_by_what_is_near(height: int, width: int) -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(4, (8, 16, 16))
    x = torch.rand(2, 4, height, width, requires_grad=True)
    scores = discriminator(x)
    assert scores.shape[0] == 2 and scores.ndim == 2
    scores[0, 0].backward()
    assert x.grad is not None and not x.grad[1].any()
    if height == 64:
        assert scores.shape == (2, 64)
        assert x.grad[0, :, :8, :8].any() and not x.grad[0, :, 40:].any()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"likelihood": "gaussian"}, "--likelihood"),
        ({"prior": "normal"}, "--prior"),
        ({"latent": 16}, "--latent"),
        ({"mixtures": 3}, "--mixtures"),
        ({"binarise": "dynamic"}, "--binarise"),
    ],
)
def test_what_only_a_likelihood_has_is_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        decide_two_stages(settled(dataclasses.replace(Train(objective="samples"), **options)), blobs(), 1e12)


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    module_shell.ok(
        "train", "vae", "--data", "demo:shapes?n=400", "--size", "12x10", *SAMPLES, "--steps", "60", "--conditional", "--run", "s", "-q"
    )  # fmt: skip
    return module_shell


def pictures(shell: Shell, *arguments: object, out: str) -> np.ndarray:
    shell.ok("sample", "vae", "--run", "s", *arguments, "--out", out, "-q")
    with np.load(shell.cwd / out) as arrays:
        return np.asarray(arrays["pictures"])


def test_samples_depend_on_seed_and_number_alone_and_obey_class_guidance_and_steps(trained: Shell) -> None:
    one = pictures(trained, "-n", 5, "--seed", 3, out="one.npz")
    assert one.shape == (5, 10, 12, 3)
    alone = pictures(trained, "-n", 5, "--seed", 3, "--batch-size", 2, out="two.npz")
    assert np.abs(one.astype(int) - alone).max() <= 1
    cross = pictures(trained, "-n", 5, "--seed", 3, "--label", "cross", out="cross.npz")
    guided = pictures(trained, "-n", 5, "--seed", 3, "--label", "cross", "--guidance", 3, out="guided.npz")
    assert not np.array_equal(cross, guided) and not np.array_equal(cross, one)
    coarse = pictures(trained, "-n", 5, "--seed", 3, "--sampling-steps", 2, out="coarse.npz")
    assert not np.array_equal(one, coarse)


def test_encode_then_decode_is_reconstruct_and_there_is_no_score(trained: Shell) -> None:
    there = "demo:shapes?n=6&seed=5"
    encoded = trained("encode", "vae", "--run", "s", "--data", there, "--out", "l.jsonl")
    assert "no scores: the run was trained with --objective samples" in encoded.stderr
    rows = [json.loads(line) for line in (trained.cwd / "l.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"name", "label", "mean", "log_var"}
    trained.ok("decode", "vae", "--run", "s", "--from", "l.jsonl", "--out", "decoded.npz", "-q")
    direct = pictures(trained, "--reconstruct", there, "-n", 6, out="direct.npz")
    with np.load(trained.cwd / "decoded.npz") as arrays:
        assert np.abs(arrays["pictures"].astype(int) - direct).max() <= 1


def test_a_way_through_the_prior_s_noise_leads_from_one_reconstruction_to_the_other(trained: Shell) -> None:
    trained.ok("sample", "vae", "--run", "s", "-n", 2, "--seed", 0, "--label", "cross", "--out", "ends", "-q")
    a, b = sorted((trained.cwd / "ends").iterdir())
    way = pictures(
        trained, "--interpolate", a, b, "--label", "cross", "-n", 5, "--sampling-steps", 100, out="way.npz"
    )  # fmt: skip
    ends = [pictures(trained, "--reconstruct", end, "--label", "cross", "-n", 1, out=f"{end.stem}.npz")[0] for end in (a, b)]
    assert np.abs(way[0].astype(int) - ends[0]).mean() < 2
    assert np.abs(way[-1].astype(int) - ends[1]).mean() < 2
    assert trained.ok("sample", "vae", "--run", "s", "--traverse", "-n", 3, "--out", "t.npz", "-q")


def test_it_is_measured_by_its_samples_and_reconstructions(trained: Shell) -> None:
    done = trained("eval", "vae", "--run", "s", "-n", 40, "--json")
    measures = json.loads(done.stdout)
    assert {"psnr", "ssim", "active_units", "kd_random", "copies"} <= set(measures)
    assert not {"nll", "elbo", "rate", "bits_per_dim", "mmd"} & set(measures)
    assert "no likelihood: the run was trained with --objective samples" in done.stderr


def test_options_that_the_run_can_t_follow_are_refused(trained: Shell) -> None:
    trained.ok("train", "vae", "--data", "demo:shapes?n=100", "--size", "8", *SAMPLES, "--steps", "4", "--run", "plain", "-q")
    trained.ok(
        "train", "vae", "--data", "demo:shapes?n=100", "--size", "8", "--objective", "likelihood", "--preset", "nano", "--steps", "4",
        "--run", "likely", "-q",
    )  # fmt: skip
    for run, flag, why in (
        ("plain", "--guidance", "trained without --conditional"),
        ("likely", "--guidance", "--objective samples"),
        ("likely", "--sampling-steps", "--objective samples"),
    ):
        done = trained("sample", "vae", "--run", run, flag, "2")
        assert done.returncode == 2 and flag in done.stderr and why in done.stderr
    done = trained("sample", "vae", "--run", "s", "--traverse", "--guidance", "2")
    assert done.returncode == 2 and "--traverse" in done.stderr
