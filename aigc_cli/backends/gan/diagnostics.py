"""Warnings and advice about the training of a GAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aigc_cli.engine.learner import MORE_TRAINING, Concern

#: Samples have collapsed if their variance is less than this share of the pictures'.
COLLAPSED = 0.4
#: Steps before which the generator has hardly started to learn: its samples vary too little in healthy runs too.
STARTED = 300
#: The discriminator overfits if held-out pictures' margin over samples is less than this share of training pictures' margin.
OVERFITTED = 0.5
#: A mean discriminator loss, in nats, at which about one picture in a hundred is misjudged; and a negligible gradient norm.
WON, FROZEN = 0.02, 1e-6
#: The relative error to assume for a kernel distance if there are too few held-out pictures to estimate it.
UNKNOWN = 0.1
#: Consecutive reports that must agree.
REPORTS = 3

Line = Mapping[str, Any]


def concerns(history: Sequence[Line], *, adapting: bool) -> dict[str, Concern]:
    """Collapse, overfitting and frozen losses, judged from the lines of metrics.jsonl so far."""
    reports = [line for line in history if line.get("event") == "trained"][-REPORTS:]
    looks = [line for line in history if line.get("event") == "evaluated"]
    found = {}
    if len(reports) == REPORTS:
        losses = [float(line.get("discriminator_loss", 1.0)) for line in reports]
        norms = [float(line.get("generator_grad_norm", 1.0)) for line in reports]
        if max(norms) < FROZEN:
            found["frozen"] = Concern(
                "the generator gets no gradient and has stopped learning; try --objective r3 or a smaller --lr"
            )
        elif max(losses) < WON:
            found["won"] = Concern(
                f"the discriminator nearly always tells samples from pictures (loss {losses[-1]:.2g}), so the generator learns "
                "little; try a higher --gamma or --penalty-every 1"
            )
    if not looks:
        return found
    last = looks[-1]
    if len(looks) > 1 and int(last["step"]) >= STARTED and float(last["spread"]) < COLLAPSED:
        found["collapse"] = Concern(
            f"mode collapse: samples have only {float(last['spread']):.0%} of the pictures' variance; try a higher --gamma",
            undo=True,
        )
    if len(looks) > 1 and all(map(overfitted, looks[-2:])):
        done = "augmentation is being increased" if adapting else "try --augment auto"
        found["overfitting"] = Concern(
            f"the discriminator is memorising the training pictures: they score {float(last['margin_train']):.2g} above "
            f"samples, held-out ones {float(last['margin_held_out']):.2g}; {done}; more pictures would help most"
        )
    return found


def overfitted(look: Line) -> bool:
    train, held_out = float(look["margin_train"]), float(look["margin_held_out"])
    return train > 0 and held_out < OVERFITTED * train


def outlook(history: Sequence[Line]) -> list[str]:
    """Whether the final model is the best one, and whether more training would help."""
    looks = [line for line in history if line.get("event") == "evaluated"]
    if len(looks) < 3:
        return []
    best = min(looks, key=lambda line: float(line["kd_random"]))
    value = float(best["kd_random"])
    error = float(best.get("kd_error", UNKNOWN * abs(value)))
    last, before = looks[-1], looks[-2]
    if float(last["kd_random"]) > value + 2 * error:
        return [
            f"samples were closest to held-out pictures at step {best['step']} (kernel distance {value:.3g} ± {error:.2g}, "
            f"{float(last['kd_random']):.3g} now); that checkpoint was kept"
        ]
    if float(last["kd_random"]) < float(before["kd_random"]) - error:
        return [f"samples were still getting closer to held-out pictures; {MORE_TRAINING}"]
    return []
