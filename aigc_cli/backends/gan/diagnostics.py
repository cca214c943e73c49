"""Warnings and advice about how the training of a GAN goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aigc_cli.engine.learner import MORE_TRAINING, Concern

#: Samples with less than this share of the pictures' variance have collapsed.
COLLAPSED = 0.4
#: Held-out pictures that score above samples by less than this share of how training pictures do are not recognised.
OVERFITTED = 0.5
#: A discriminator's mean loss, in nats, below which it errs about one picture in a hundred; and a gradient that moves nothing.
WON, FROZEN = 0.02, 1e-6
#: What a kernel distance may be off by where held-out pictures are too few to tell, as a share of it.
UNKNOWN = 0.1
#: Reports in a row that must agree.
REPORTS = 3

Line = Mapping[str, Any]


def concerns(history: Sequence[Line], *, adapting: bool) -> dict[str, Concern]:
    """Collapse, overfitting and frozen losses, judged from metrics.jsonl's lines so far."""
    reports = [line for line in history if line.get("event") == "trained"][-REPORTS:]
    looks = [line for line in history if line.get("event") == "evaluated"]
    found = {}
    if len(reports) == REPORTS:
        losses = [float(line.get("discriminator_loss", 1.0)) for line in reports]
        norms = [float(line.get("generator_grad_norm", 1.0)) for line in reports]
        if max(norms) < FROZEN:
            found["frozen"] = Concern(
                "the generator's loss is frozen, and nothing tells it where to go; try --objective r3 or a smaller --lr"
            )
        elif max(losses) < WON:
            found["won"] = Concern(
                f"the discriminator tells samples from pictures nearly always (loss {losses[-1]:.2g}), which teaches the "
                "generator little; try a higher --gamma or --penalty-every 1"
            )
    if not looks:
        return found
    last = looks[-1]
    if len(looks) > 1 and float(last["spread"]) < COLLAPSED:  # the first look is of a generator that has hardly begun
        found["collapse"] = Concern(
            f"samples have {float(last['spread']):.0%} of the pictures' variance: the generator draws a few things only; "
            "a higher --gamma would help",
            undo=True,
        )
    if len(looks) > 1 and all(map(overfitted, looks[-2:])):
        done = "it is being augmented more" if adapting else "try --augment auto"
        found["overfitting"] = Concern(
            f"the discriminator is memorising the training pictures: they score {float(last['margin_train']):.2g} above "
            f"samples, held-out ones {float(last['margin_held_out']):.2g}; {done}, and more pictures would help most"
        )
    return found


def overfitted(look: Line) -> bool:
    train, held_out = float(look["margin_train"]), float(look["margin_held_out"])
    return train > 0 and held_out < OVERFITTED * train


def outlook(history: Sequence[Line]) -> list[str]:
    """How it ended, and whether more time would help."""
    looks = [line for line in history if line.get("event") == "evaluated"]
    if len(looks) < 3:
        return []
    best = min(looks, key=lambda line: float(line["kd_random"]))
    value = float(best["kd_random"])
    error = float(best.get("kd_error", UNKNOWN * abs(value)))
    last, before = looks[-1], looks[-2]
    if float(last["kd_random"]) > value + 2 * error:
        return [
            f"samples were nearest to held-out pictures at step {best['step']} (kernel distance {value:.3g} ± {error:.2g}, "
            f"{float(last['kd_random']):.3g} now); that checkpoint is the one kept"
        ]
    if float(last["kd_random"]) < float(before["kd_random"]) - error:
        return [f"samples were still coming nearer to held-out pictures: {MORE_TRAINING}"]
    return []
