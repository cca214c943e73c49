"""Advice about the training of a VAE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.engine.learner import MORE_TRAINING

#: Below this rate, in nats, the latents hold nothing of a picture.
COLLAPSED = 0.5


def advice(history: Sequence[Mapping[str, Any]], config: VAEConfig) -> list[str]:
    """Whether the latents are used, from the best evaluation in metrics.jsonl, and what would help."""
    held_out = [line for line in history if line.get("event") == "evaluated"]
    if not held_out:
        return []
    best = min(held_out, key=lambda line: float(line["negative_elbo"]))
    name = "negative_elbo"
    trend = memorising(held_out, name, " nats per picture") or still_falling(held_out, name)
    return [_latents(best, config), *trend]


def _latents(best: Mapping[str, Any], config: VAEConfig) -> str:
    rate, active = float(best["rate"]), int(best["active_units"])
    state = (
        "collapsed: the decoder ignores the latents; try a smaller --beta or a longer --kl-warmup"
        if rate < COLLAPSED or active == 0
        else "not collapsed"
    )
    return f"{active} of {config.latents} latents active, {rate / math.log(2):.0f} bits per picture, {state}"


def memorising(held_out: Sequence[Mapping[str, Any]], name: str, unit: str) -> list[str]:
    """Advice if the held-out loss of this name, in `evaluated` lines of metrics.jsonl, has risen from its lowest."""
    if len(held_out) < 3:
        return []
    best = min(held_out, key=lambda line: float(line[name]))
    value, lowest = float(held_out[-1][name]), float(best[name])
    if value <= lowest + 0.01 * abs(lowest):
        return []
    return [
        f"the held-out loss was lowest at step {best['step']} ({lowest:.4g}{unit}) and is {value:.4g} now: the model is "
        "memorising the pictures; more pictures or --flip would help most; the best checkpoint was kept"
    ]


def still_falling(held_out: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Advice if the held-out loss of this name fell until the end."""
    if len(held_out) < 3:
        return []
    before, last = float(held_out[-2][name]), float(held_out[-1][name])
    return [f"the held-out loss was still falling; {MORE_TRAINING}"] if last < before - 0.001 * abs(before) else []
