"""Advice about the training of a VAE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_cli.backends.vae.model import VAEConfig
from aigc_cli.engine.learner import MORE_TRAINING

#: Below this rate, in nats, the latents hold nothing of a picture.
COLLAPSED = 0.5


def advice(history: Sequence[Mapping[str, Any]], config: VAEConfig) -> list[str]:
    """Whether the latents are used, from the best evaluation in metrics.jsonl, and what would help."""
    held_out = [line for line in history if line.get("event") == "evaluated"]
    if not held_out:
        return []
    best = min(held_out, key=lambda line: float(line["negative_elbo"]))
    return [_latents(best, config), *_trend(held_out, best)]


def _latents(best: Mapping[str, Any], config: VAEConfig) -> str:
    rate, active = float(best["rate"]), int(best["active_units"])
    state = (
        "collapsed: the decoder ignores the latents; try a smaller --beta or a longer --kl-warmup"
        if rate < COLLAPSED or active == 0
        else "not collapsed"
    )
    return f"{active} of {config.latents} latents active, {rate / math.log(2):.0f} bits per picture, {state}"


def _trend(held_out: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> list[str]:
    if len(held_out) < 3:
        return []
    last = held_out[-1]
    value, lowest = float(last["negative_elbo"]), float(best["negative_elbo"])
    if last is not best and value > lowest + 0.01 * abs(lowest):
        return [
            f"the held-out loss was lowest at step {best['step']} ({lowest:.1f} nats per picture) and is {value:.1f} now: the "
            "model is memorising the pictures; more pictures or --flip would help most; the best checkpoint was kept"
        ]
    before = float(held_out[-2]["negative_elbo"])
    if value < before - 0.001 * abs(before):
        return [f"the held-out loss was still falling; {MORE_TRAINING}"]
    return []
