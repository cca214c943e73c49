"""The GAN's steps, seen from inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import settled
from test_gan_sizes import dataset

from aigc_cli.backends.gan.config import Train
from aigc_cli.backends.gan.learner import LEAST_DRAWN, GANLearner
from aigc_cli.backends.gan.loaded import pictures_of, seen
from aigc_cli.backends.gan.presets import decide
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.engine.device import seed_everything
from aigc_cli.engine.events import Bus
from aigc_cli.engine.planning.budget import plan_for_steps
from aigc_cli.engine.step import read
from aigc_cli.engine.trainer import Trainer

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


def blobs(n: int = 200, *, held_out: int = 64, two_classes: bool = False) -> PictureDataset:
    """9×7 grey pictures of one bright spot each; the class says in which half it is."""
    draw = np.random.default_rng(0)
    empty = dataset(9, 7, n=n + held_out)
    places = draw.integers(0, 63, n + held_out)
    pixels = np.full((n + held_out, 63), 20, np.uint8)
    pixels[np.arange(len(pixels)), places] = draw.integers(150, 256, len(pixels))
    labels = (places >= 32).astype(np.int64) if two_classes else None
    every = dataclasses.replace(empty.train, pixels=pixels.reshape(-1, 9, 7, 1), labels=labels)
    train, rest = (
        dataclasses.replace(every, rows=rows, labels=None if labels is None else labels[rows])
        for rows in (np.arange(n), np.arange(n, n + held_out))
    )
    classes = ("up", "down") if two_classes else ()
    return dataclasses.replace(empty, train=train, select=rest, report=rest, classes=classes)


def trainer(options: Train, data: PictureDataset, steps: int = 40) -> Trainer:
    options = dataclasses.replace(options, preset="nano", batch_size=options.batch_size or 16, steps=steps, eval_every=20)
    plan = plan_for_steps(decide(settled(options), data, 1.0)[0], options, len(data.select))

    def build() -> GANLearner:
        seed_everything(plan.seed)
        return GANLearner(plan, data, CPU)

    return Trainer(build, plan, CPU, Bus())


def learner_of(made: Trainer) -> GANLearner:
    assert isinstance(made.learner, GANLearner)
    return made.learner


def run(made: Trainer, steps: int) -> list[dict[str, float]]:
    return read([made.step(made.learner.batch(step), step) for step in range(steps)])


def test_bytes_go_through_the_networks_range_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(4, 8, 8, 1)
    x = seen(pixels)
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)
    assert np.array_equal(pictures_of(x), pixels.numpy())
    assert np.array_equal(pictures_of(torch.tensor([-3.0, 3.0]).reshape(2, 1, 1, 1)).ravel(), [0, 255])


def test_a_lazy_penalty_is_weighted_by_its_interval() -> None:
    """Of a discriminator that is linear, r1 + r2 is ‖w‖², whatever the pictures."""
    made = trainer(Train(penalty_every=5, gamma=0.7, augment="off"), blobs())
    learner = learner_of(made)
    w = torch.randn(1, 9, 7)
    learner.discriminator.forward = lambda x, *given: (x * w).sum((1, 2, 3))  # type: ignore[method-assign,assignment]
    batch = learner.batch(0)

    def loss(step: int) -> float:
        torch.manual_seed(0)
        return learner.phases(step, made.plan)[0].loss(batch).mean.item()

    plain = loss(1)
    assert [loss(step) for step in (2, 3, 4)] == [plain] * 3
    assert loss(0) - plain == pytest.approx(5 * 0.7 * float(w.square().sum()), rel=1e-4)


def test_each_turn_moves_its_own_network_only() -> None:
    made = trainer(Train(), blobs())
    learner = learner_of(made)
    for phase, other in zip(learner.phases(0, made.plan), ("generator", "discriminator"), strict=True):
        for network in learner.networks.values():
            network.zero_grad(set_to_none=True)
        phase.loss(learner.batch(0)).mean.backward()
        assert any(p.grad is not None for p in learner.networks[phase.optimizer].parameters())
        assert all(p.grad is None for p in learner.networks[other].parameters())
        assert all(p.requires_grad for p in learner.networks[other].parameters())


@pytest.mark.parametrize("objective", ["r3", "minimax", "non-saturating", "hinge"])
def test_every_objective_moves_both_networks_without_a_fault(objective: str) -> None:
    made = trainer(Train(objective=objective), blobs())  # type: ignore[arg-type]
    before = {name: [p.detach().clone() for p in network.parameters()] for name, network in made.learner.networks.items()}
    reports = run(made, 10)
    assert all(np.isfinite(list(report.values())).all() and report for report in reports)
    for name in ("generator", "discriminator"):
        assert any(not torch.equal(a, b) for a, b in zip(before[name], made.learner.networks[name].parameters(), strict=True))


def test_samples_come_nearer_to_the_pictures() -> None:
    made = trainer(Train(lr=2e-3), blobs(400), steps=150)
    before = made.evaluate(64)
    run(made, 150)
    after = made.evaluate(64)
    assert after["kd_random"] < before["kd_random"] / 2
    assert after == made.evaluate(64)
    assert learner_of(made).noise(after) == after["kd_error"] > 0


def test_the_spread_is_that_of_samples_over_that_of_pictures() -> None:
    made = trainer(Train(augment="off"), blobs())
    learner = learner_of(made)
    everything = torch.cat([learner._some(learner.data.select, np.arange(64))[0]] * (LEAST_DRAWN // 64 + 2))

    def real(n: int, labels: object) -> torch.Tensor:
        nonlocal everything
        some, everything = everything[:n], everything[n:]
        return some

    learner.drawn = real  # type: ignore[method-assign,assignment]
    measures = made.evaluate(64)
    assert measures["spread"] == pytest.approx(1, abs=1e-3)
    assert measures["margin_held_out"] == pytest.approx(0, abs=1e-4)
    assert -0.5 < measures["kd_random"] < 0  # the very pictures are closer than other ones of their kind


def test_one_held_out_picture_is_enough_to_choose_by() -> None:
    measures = trainer(Train(), blobs(30, held_out=1)).evaluate(1)
    assert np.isfinite(list(measures.values())).all()
    assert "kd_error" not in measures


def scores_by(of: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda x, labels=None, clusters=None: of(x)


def test_the_augmentation_follows_the_discriminator_s_overfitting() -> None:
    """A discriminator that knows training pictures by a mark, and one that does not know them from others."""
    data = blobs()
    data.train.pixels[data.train.rows, 0, 0] = 255
    data.select.pixels[data.select.rows, 0, 0] = 0
    made = trainer(Train(), data)
    learner = learner_of(made)
    learner.drawn = lambda n, given: torch.zeros(n, 1, 9, 7)  # type: ignore[method-assign]
    learner.discriminator.forward = scores_by(lambda x: x[:, 0, 0, 0])  # type: ignore[method-assign]
    for step in range(40):
        learner.after_step(step, learner.batch(step), made.plan)
    raised = float(learner.augmentation.strength)
    assert raised > 0.1
    learner.discriminator.forward = scores_by(lambda x: x.new_zeros(len(x)))  # type: ignore[method-assign]
    for step in range(40):
        learner.after_step(step, learner.batch(step), made.plan)
    assert float(learner.augmentation.strength) < raised


def test_margins_do_not_depend_on_how_high_a_class_scores() -> None:
    """Training compares pairs of one class, so the discriminator may add any number to a class's scores."""
    data = blobs(two_classes=True)
    learner = learner_of(trainer(Train(conditional=True, augment="off"), data))
    compare = learner.discriminator.forward
    found = []
    for more in (0.0, 100.0):
        learner.discriminator.forward = lambda x, labels, clusters, by=more: compare(x, labels, clusters) + by * labels  # type: ignore[method-assign]
        seed_everything(0)
        with torch.no_grad():
            found.append(learner.evaluate(64))
    for name in ("margin_train", "margin_held_out"):
        assert found[0][name] == pytest.approx(found[1][name], abs=1e-3)


def test_a_strength_that_was_asked_for_stays() -> None:
    made = trainer(Train(augment="0.25"), blobs())
    run(made, 20)
    assert float(learner_of(made).augmentation.strength) == 0.25


def test_the_average_s_half_life_is_a_share_of_the_steps_so_far() -> None:
    half_life = learner_of(trainer(Train(ema=0.1), blobs())).ema["generator"]
    assert callable(half_life)
    assert (half_life(5000), half_life(0)) == (500, 1)


def test_every_class_is_learned() -> None:
    made = trainer(Train(conditional=True, lr=2e-3), blobs(400, two_classes=True), steps=200)
    run(made, 200)
    generator = learner_of(made).generator
    z = torch.randn(64, generator.config.latent, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        up, down = (generator(z, torch.full((64,), number)).clamp(-1, 1) for number in (0, 1))
    assert float(up[:, :, :4].mean() - up[:, :, 5:].mean()) > 0 > float(down[:, :, :4].mean() - down[:, :, 5:].mean())


def test_every_cluster_is_learned_and_counted() -> None:
    """Bright spots in the upper and the lower half are told apart without labels."""
    made = trainer(Train(clusters=2, lr=2e-3), halves(400), steps=200)
    learner = learner_of(made)
    before = learner.generator.shares.clone()
    run(made, 200)
    generator = learner.generator
    z = torch.randn(64, generator.config.latent, generator=torch.Generator().manual_seed(0))
    x, given = learner._some(learner.data.train, np.arange(400))
    assert given.clusters is not None
    with torch.no_grad():
        drawn = [generator(generator.with_clusters(z, torch.full((64,), number))).clamp(-1, 1) for number in (0, 1)]
    of_real, of_drawn = (
        [float(some[:, :, :4].mean() - some[:, :, 5:].mean()) for some in pictures]
        for pictures in ([x[given.clusters == number] for number in (0, 1)], drawn)
    )
    assert min(of_real) < 0 < max(of_real) and np.argmax(of_real) == np.argmax(of_drawn) and min(of_drawn) < 0 < max(of_drawn)
    assert torch.allclose(generator.shares, torch.bincount(given.clusters) / 400, atol=0.03)
    assert not torch.equal(generator.shares, before)


def halves(n: int) -> PictureDataset:
    """`blobs`, with one half of each picture light: three quarters of them above."""
    data = blobs(n)
    for arrays in (data.train, data.select):
        below = arrays.rows % 4 == 0
        arrays.pixels[arrays.rows[below], 5:] = 200
        arrays.pixels[arrays.rows[~below], :4] = 200
    return data
