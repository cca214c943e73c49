"""The objectives at their optima, on distributions over a few outcomes, and the gradient penalty in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from aigc_cli.backends.gan.loss import OBJECTIVES, ObjectiveName, minimax_value
from aigc_cli.backends.pictures.adversarial import gradient_penalty

#: Two distributions over five outcomes, in sixteenths, so that a batch has each outcome exactly as often as expected.
REAL, FAKE = torch.tensor([6, 1, 4, 3, 2]), torch.tensor([1, 5, 4, 2, 4])
P, Q = REAL.double() / 16, FAKE.double() / 16
OPTIMUM = (P / Q).log()
"""The logit of D* = p / (p + q)."""


def kl(p: Tensor, q: Tensor) -> float:
    return float((p * (p / q).log()).sum())


def jsd(p: Tensor, q: Tensor) -> float:
    middle = (p + q) / 2
    return (kl(p, middle) + kl(q, middle)) / 2


def batch(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The scores of every pair of a real and a generated outcome, as often as it is expected."""
    real, fake = logits.repeat_interleave(REAL), logits.repeat_interleave(FAKE)
    pairs = torch.cartesian_prod(real, fake)
    return pairs[:, 0], pairs[:, 1]


def discriminator_loss(name: ObjectiveName, logits: Tensor) -> Tensor:
    return OBJECTIVES[name].discriminator(*batch(logits))


@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
def test_at_the_optimal_discriminator_the_value_is_minus_log_4_plus_twice_the_jsd(name: ObjectiveName) -> None:
    assert float(minimax_value(*batch(OPTIMUM))) == pytest.approx(-math.log(4) + 2 * jsd(P, Q), abs=1e-12)
    assert float(discriminator_loss(name, OPTIMUM)) == pytest.approx(math.log(4) - 2 * jsd(P, Q), abs=1e-12)


def test_the_relativistic_optimum_is_log_2_less_the_jsd_of_the_pairs() -> None:
    pairs, swapped = torch.outer(P, Q).flatten(), torch.outer(Q, P).flatten()
    assert float(discriminator_loss("r3", OPTIMUM)) == pytest.approx(math.log(2) - jsd(pairs, swapped), abs=1e-12)


def test_the_hinge_optimum_is_two_less_twice_the_total_variation() -> None:
    variation = float((P - Q).abs().sum() / 2)
    assert float(discriminator_loss("hinge", (P - Q).sign())) == pytest.approx(2 - 2 * variation, abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_discriminator_does_better_than_the_optimal_one(name: ObjectiveName) -> None:
    optimum = (P - Q).sign() if name == "hinge" else OPTIMUM
    best = float(discriminator_loss(name, optimum))
    torch.manual_seed(0)
    for size in (0.01, 0.3, 3.0):
        for _ in range(20):
            assert float(discriminator_loss(name, optimum + size * torch.randn(5, dtype=torch.float64))) > best - 1e-12


@pytest.mark.parametrize("name", ["r3", "minimax", "non-saturating"])
def test_the_optimum_is_where_the_gradient_vanishes(name: ObjectiveName) -> None:
    logits = OPTIMUM.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator_loss(name, logits), logits)
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("name", OBJECTIVES)
def test_real_scores_are_pushed_up_and_generated_ones_down_and_the_generator_undoes_it(name: ObjectiveName) -> None:
    torch.manual_seed(0)
    real, fake = (0.5 * torch.randn(8, requires_grad=True) for _ in range(2))
    objective = OBJECTIVES[name]
    up, down = torch.autograd.grad(objective.discriminator(real, fake), (real, fake))
    assert (up < 0).all() and (down > 0).all()
    (generator,) = torch.autograd.grad(objective.generator(real, fake), fake)
    assert (generator < 0).all()


def test_minimax_saturates_and_the_others_do_not() -> None:
    scores = {}
    for name, objective in OBJECTIVES.items():
        fake = torch.full((1,), -12.0, requires_grad=True)
        (gradient,) = torch.autograd.grad(objective.generator(torch.zeros(1), fake), fake)
        scores[name] = float(gradient.abs())
    assert scores.pop("minimax") < 1e-4
    assert min(scores.values()) > 0.99


@pytest.mark.parametrize("name", OBJECTIVES)
def test_large_scores_neither_overflow_nor_lose_their_gradient(name: ObjectiveName) -> None:
    real, fake = torch.full((2,), -1e4, requires_grad=True), torch.full((2,), 1e4, requires_grad=True)
    loss = OBJECTIVES[name].discriminator(real, fake)
    (gradient,) = torch.autograd.grad(loss, real)
    assert torch.isfinite(loss) and float(gradient.sum()) == pytest.approx(-1)


def test_the_penalty_of_a_quadratic_score_has_a_closed_form() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    a = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty((a * x.square()).sum((1, 2, 3)), x)  # ∇D = 2 a x
    torch.testing.assert_close(penalty, (2 * a * x).square().sum() / 5 / 2)
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, (4 * a * x.square()).mean(0))


def test_the_penalty_is_a_mean_over_pictures() -> None:
    x = torch.randn(3, 1, 2, 2, requires_grad=True)
    alone = gradient_penalty(x.square().sum((1, 2, 3)), x)
    twice = torch.cat((x, x))
    torch.testing.assert_close(gradient_penalty(twice.square().sum((1, 2, 3)), twice), alone)
