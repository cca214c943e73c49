"""Augmentation: what it leaves, what it changes, how its strength moves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from aigc_cli.backends.gan.augment import Augmentation
from aigc_cli.backends.pictures.augment import brighten, changed, contrast, cut_out, saturate, translate
from aigc_cli.data.pictures.changes import Changes

CHANGES = [brighten, saturate, contrast, translate, cut_out]


def pictures(n: int = 64, channels: int = 3, height: int = 16, width: int = 24, dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(n, channels, height, width, dtype=dtype) * 2 - 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_at_strength_0_pictures_are_what_they_were(channels: int) -> None:
    x = pictures(channels=channels)
    assert torch.equal(Augmentation()(x), x)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(28, 28), (20, 33), (5, 1), (1, 1)])
def test_pictures_of_any_size_keep_it(channels: int, size: tuple[int, int]) -> None:
    x = pictures(4, channels, *size)
    augmented = Augmentation(0.8)(x)
    assert augmented.shape == x.shape and torch.isfinite(augmented).all()


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_each_change_is_made_to_each_picture_with_that_probability(strength: float) -> None:
    x = pictures(4000, 3, 8, 8)
    untouched = float((Augmentation(strength)(x) == x).flatten(1).all(1).float().mean())
    # Now and then a picture is translated by nothing.
    assert untouched == pytest.approx((1 - strength) ** 5 * (1 + strength / 9 / (1 - strength)), abs=0.02)


@pytest.mark.parametrize("chosen", [[], [0], [1, 3], [0, 1, 2, 3]])
def test_a_device_that_is_not_waited_for_changes_the_same_pictures(chosen: list[int]) -> None:
    x = pictures(4)
    mask = torch.tensor([number in chosen for number in range(4)])
    waited, not_waited = (changed(x, mask, lambda pictures: pictures.flip(2), waits=waits) for waits in (True, False))
    assert torch.equal(waited, not_waited)
    assert [torch.equal(a, b) for a, b in zip(waited, x, strict=True)] == [number not in chosen for number in range(4)]


@pytest.mark.parametrize("change", [translate, cut_out])
@pytest.mark.parametrize("size", [(16, 24), (13, 9)])
def test_a_pixel_is_moved_or_removed_and_never_mirrored(change: Callable[[Tensor], Tensor], size: tuple[int, int]) -> None:
    height, width = size
    numbers = torch.arange(1.0, height * width + 1).view(1, 1, height, width).expand(100, 2, -1, -1)
    changed = change(numbers)
    assert torch.equal(changed[:, 0], changed[:, 1])
    for before, after in zip(numbers[:, 0], changed[:, 0], strict=True):
        shown = after != 0
        offsets = (after - before)[shown]
        assert len(offsets.unique()) == 1  # one shift for the whole picture, so its order stands
        assert shown.float().mean() >= 0.5
    assert len({tuple(picture.flatten().tolist()) for picture in changed[:, 0]}) > 1


def test_a_translation_is_within_an_eighth_and_fills_with_0() -> None:
    x = torch.ones(500, 1, 16, 32)
    moved = translate(x)
    filled_rows = (moved.amax((1, 3)) == 0).sum(1)
    filled_columns = (moved.amax((1, 2)) == 0).sum(1)
    assert set(filled_rows.tolist()) == {0, 1, 2}
    assert set(filled_columns.tolist()) == {0, 1, 2, 3, 4}


def test_what_is_cut_out_is_a_square_of_half_the_sides_wherever() -> None:
    cut = cut_out(torch.ones(3000, 1, 16, 8))[:, 0] == 0
    assert int(cut.sum((1, 2)).max()) == 8 * 4
    shares = cut.float().mean(0)
    assert shares.min() > 0.05  # every place is cut out at times
    rows, columns = cut.any(2).sum(1), cut.any(1).sum(1)
    assert torch.equal(rows * columns, cut.sum((1, 2)))  # a rectangle


@pytest.mark.parametrize("change", [brighten, saturate, contrast])
def test_colours_change_and_opacity_does_not(change: Callable[[Tensor], Tensor]) -> None:
    x = pictures(channels=4)
    changed = change(x)
    assert torch.equal(changed[:, 3], x[:, 3])
    assert not torch.equal(changed[:, :3], x[:, :3])


def test_the_colour_changes_are_what_their_names_say() -> None:
    x = pictures(dtype=torch.float64)
    offset = brighten(x) - x
    torch.testing.assert_close(offset, offset[:, :1, :1, :1].expand_as(x))
    assert offset.abs().max() <= 0.5
    torch.testing.assert_close(saturate(x).mean(1), x.mean(1))
    torch.testing.assert_close(contrast(x).mean((1, 2, 3)), x.mean((1, 2, 3)))
    ratio = contrast(x).std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= ratio.min() < 0.7 and 1.3 < ratio.max() <= 1.5


def test_grey_pictures_have_no_saturation() -> None:
    x = pictures(dtype=torch.float64)[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(saturate(x), x)


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_differentiable_twice(change: Callable[[Tensor], Tensor]) -> None:
    x = pictures(2, 3, 4, 5, torch.float64).requires_grad_()

    def repeatable(x: Tensor) -> Tensor:
        torch.manual_seed(1)
        return change(x).square()

    assert torch.autograd.gradcheck(repeatable, (x,))
    assert torch.autograd.gradgradcheck(repeatable, (x,))


def test_the_same_random_state_makes_the_same_changes() -> None:
    x = pictures()
    augment = Augmentation(0.5)
    torch.manual_seed(7)
    first = augment(x)
    torch.manual_seed(7)
    assert torch.equal(augment(x), first)
    assert not torch.equal(augment(x), first)


def test_the_strength_rises_while_held_out_scores_fall_behind_and_falls_when_they_do_not() -> None:
    augment = Augmentation(0.2)
    train = torch.tensor([3.0, 3.0])
    overfitted, not_overfitted = torch.tensor([1.0]), torch.tensor([2.0])  # r_v is 2/3 and 1/3
    augment.adapt(train, overfitted, step=0.05)
    assert float(augment.strength) == pytest.approx(0.25)
    augment.adapt(train, not_overfitted, step=0.05)
    assert float(augment.strength) == pytest.approx(0.2)
    augment.adapt(train, not_overfitted, step=0.05, target=0.3)
    assert float(augment.strength) == pytest.approx(0.25)


def test_a_discriminator_that_prefers_generated_pictures_has_not_overfitted() -> None:
    augment = Augmentation(0.2)
    augment.adapt(torch.tensor([-1.0]), torch.tensor([-4.0]), step=0.05)
    assert float(augment.strength) == pytest.approx(0.15)


def test_the_strength_stays_within_its_bounds() -> None:
    augment = Augmentation()
    one, none = torch.tensor([1.0]), torch.tensor([0.0])
    augment.adapt(one, one, step=0.3)
    assert float(augment.strength) == 0
    for _ in range(5):
        augment.adapt(one, none, step=0.3)
    assert float(augment.strength) == pytest.approx(Augmentation.MAX_STRENGTH)


def test_chance_alone_does_not_raise_the_strength() -> None:
    """Margins of batches of 32, whose means differ by much less than chance makes them."""
    generator = torch.Generator().manual_seed(0)

    def margins(mean: float) -> Tensor:
        return mean + torch.randn(32, generator=generator)

    at_once, averaged, overfitted = Augmentation(0.2), Augmentation(0.2), Augmentation()
    strengths = []
    for _ in range(400):
        train, held_out = margins(0.2), margins(0.2)
        at_once.adapt(train, held_out, step=0.01)
        averaged.adapt(train, held_out, step=0.01, weight=0.02)
        overfitted.adapt(train, held_out - 0.18, step=0.01, weight=0.02)
        strengths.append((float(at_once.strength), float(averaged.strength)))
    of_last = np.array(strengths[200:])
    assert of_last[:, 0].max() < 0.03
    assert of_last[:, 1].max() == 0
    assert float(overfitted.strength) == pytest.approx(Augmentation.MAX_STRENGTH)


def test_margins_that_are_not_finite_are_passed_over() -> None:
    augment = Augmentation()
    for train in (1.0, torch.nan, torch.inf, 1.0):
        augment.adapt(torch.tensor([train]), torch.tensor([0.0]), step=0.1)
    assert float(augment.strength) == pytest.approx(0.4)


def test_the_strength_is_part_of_a_checkpoint() -> None:
    augment, other = Augmentation(), Augmentation(0.4)
    other.adapt(torch.tensor([3.0]), torch.tensor([1.0]), step=0.0)
    augment.load_state_dict(other.state_dict())
    assert float(augment.strength) == pytest.approx(0.4)
    assert augment.margins.tolist() == [2.0, 3.0]


def test_the_difference_must_be_more_than_chance() -> None:
    """Beyond two standard errors: of the scores that were drawn, and of the held-out pictures that there are."""
    train, held_out = torch.tensor([-0.4, 1.6] * 50), torch.tensor([-0.9, 1.1] * 50)  # a difference of 0.5, variances of 1
    for n, weight, n_held_out, rises in (
        (100, 1.0, 1000, True),
        (8, 1.0, 1000, False),
        (8, 0.1, 1000, True),
        (100, 1.0, 10, False),
    ):
        augment = Augmentation(0.4)
        for _ in range(100 if weight < 1 else 1):
            augment.adapt(train[:n], held_out[:n], step=0.001, weight=weight, n_held_out=n_held_out)
        assert (float(augment.strength) > 0.4) == rises


SOUND = Changes(down=0, across=1 / 8, beyond=-1.0, brightness=0.15, contrast=False, black_stays=True)


def test_what_may_not_change_stays() -> None:
    """Each column of a sound's picture is what it was but for one loudness, in the same order, and silence is silence."""
    x = pictures(300, channels=1).clamp_min(-0.6)
    x[:, :, :3], x[:, :, :, :2] = -1, -1
    loud = x > -1
    seen = set()
    for before, after in zip(x, Augmentation(0.5, SOUND)(x), strict=True):
        for offset in range(-3, 4):
            moved = before.roll(offset, 2)
            both = (after > -1) & (moved > -1)
            difference = (after - moved)[both]
            if both.sum() >= before.numel() // 8 and difference.max() - difference.min() < 1e-5:
                assert abs(float(difference[0])) <= 0.15 + 1e-6
                seen.add((offset != 0, abs(float(difference[0])) > 1e-6))
                break
        else:
            pytest.fail("the rows are not those of before")
        assert (after[:, :3] == -1).all()
    assert len(seen) == 4 and loud.any()


def test_silence_moves_in_and_covers() -> None:
    x = torch.ones(200, 1, 16, 24)
    assert set(translate(x, down=0, across=1 / 8, beyond=-1.0).unique().tolist()) == {-1.0, 1.0}
    assert set(cut_out(x, level=-1.0).unique().tolist()) == {-1.0, 1.0}
    down = translate(x, down=0, across=1 / 8, beyond=-1.0)
    assert torch.equal(down.amin(2), down.amax(2))  # whole columns
