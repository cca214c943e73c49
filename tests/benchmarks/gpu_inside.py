"""What `gpu.py` measures from inside: numbers beside the CPU's, loss curves, speed, and where its time goes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from aigc_cli.backends.gan import model as gan
from aigc_cli.backends.transformer.decoder_only import model as decoder_only
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoding.sampling import inverse_cdf
from aigc_cli.backends.transformer.encoder_decoder import model as encoder_decoder
from aigc_cli.backends.transformer.encoder_decoder.incremental import Seq2SeqLM
from aigc_cli.backends.vae import model as vae
from aigc_cli.engine.device import autocast, batches, open_device, synchronize, to_device
from aigc_cli.engine.events import Bus
from aigc_cli.engine.planning.plan import plan_run
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.step import read
from aigc_cli.engine.trainer import Trainer

Outputs = dict[str, Tensor]


def trainer_of(backend: Any, options: TrainOptions, scratch: Path) -> Trainer:
    return plan_run(backend, options, "", Bus(), scratch).trainer


# Numbers


def outputs(name: str, folder: Path, device: torch.device, precision: str) -> Tensor:
    """What the model of a run computes for a few fixed inputs, on the CPU: logits of prompts of several lengths and of tokens
    after them, or pictures."""
    load, compute = {
        "decoder-only": (decoder_only.load_pretrained, lambda network: _logits(CausalLM(network))),
        "encoder-decoder": (encoder_decoder.load_pretrained, lambda network: _logits(Seq2SeqLM(network))),
        "gan": (gan.load_pretrained, _generated),
        "vae": (vae.load_pretrained, _decoded),
    }[name]
    network: nn.Module = load(folder).to(device)
    with torch.inference_mode(), autocast(device, precision):
        found: Tensor = compute(network)
    return found.float().cpu()


def _logits(model: CausalLM | Seq2SeqLM) -> Tensor:
    vocabulary, device = model.network.config.vocab_size, model.network.head.device
    random = np.random.default_rng(0)
    prompts = [random.integers(0, vocabulary, length).tolist() for length in (3, 12, 7)]
    state = model.prefill(prompts, room=6)
    found = [state.logits.clone()]
    for _ in range(4):
        state.step(torch.from_numpy(random.integers(0, vocabulary, len(prompts))).to(device))
        found.append(state.logits.clone())
    return torch.stack(found)


def _generated(network: gan.Generator) -> Tensor:
    z = torch.randn(8, network.config.latent + network.config.n_clusters, generator=torch.Generator().manual_seed(0))
    return network(z.to(network.out.weight.device))


def _decoded(network: vae.VAE) -> Tensor:
    u = torch.randn(8, network.config.latents, generator=torch.Generator().manual_seed(0))
    z = network.prior.inverse(u.to(next(network.parameters()).device))
    return network.likelihood.mean(network.decode(z))


def differences(name: str, folder: Path, device: str) -> tuple[float, float]:
    """The largest differences from the CPU in float32 and in bfloat16, as shares of the largest number."""
    there = open_device(device)
    here = outputs(name, folder, torch.device("cpu"), "fp32")
    of_fp32, of_bf16 = (outputs(name, folder, there, precision) - here for precision in ("fp32", "bf16"))
    return float(of_fp32.abs().max() / here.abs().max()), float(of_bf16.abs().max() / here.abs().max())


def wrong_draws(device: str, rows: int, vocabulary: int, times: int) -> tuple[int, int]:
    """How many tokens of weight 0 were drawn, and the number of draws."""
    random = torch.Generator().manual_seed(0)
    weights = torch.rand(rows, vocabulary, generator=random) * (torch.rand(rows, vocabulary, generator=random) < 0.05)
    weights = (weights / weights.sum(1, keepdim=True)).to(device)
    wrong = 0
    for _ in range(times):
        ids = inverse_cdf(weights, torch.rand(rows, generator=random).to(device))
        wrong += int((weights.gather(1, ids[:, None]) == 0).sum())
    return wrong, rows * times


# Training


class Trained(NamedTuple):
    losses: list[float]
    seconds: float  # a step, without the first few


def trained(backend: Any, options: TrainOptions, steps: int, scratch: Path) -> Trained:
    """The losses of some steps. Raises an error if one isn't finite."""
    trainer = trainer_of(backend, options, scratch)
    values, warm = [], max(1, steps // 5)
    for step, (batch, moved) in enumerate(batches(trainer.learner.batch, 0, steps, trainer.device)):
        if step == warm:
            synchronize(trainer.device)
            began = time.perf_counter()
        values.append(trainer.step(batch, step, moved))
    synchronize(trainer.device)
    seconds = (time.perf_counter() - began) / (steps - warm)
    found = read(values)
    assert all(found), "a loss is not finite"
    return Trained([sum(v for key, v in line.items() if key.endswith("loss")) for line in found], seconds)


def last(losses: Sequence[float]) -> float:
    """The mean of the last quarter."""
    return float(np.mean(losses[-max(1, len(losses) // 4) :]))


def waits(backend: Any, options: TrainOptions, steps: int, scratch: Path) -> tuple[float, list[str]]:
    """How often a step waits for the GPU, counted by PyTorch's warnings, and where."""
    trainer = trainer_of(backend, options, scratch)
    places: list[str] = []
    for step, (batch, moved) in enumerate(batches(trainer.learner.batch, 0, 20 + steps, trainer.device)):
        if step < 20:  # kernels are chosen in the first steps
            trainer.step(batch, step, moved)
            continue
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.step(batch, step, moved)
        torch.cuda.set_sync_debug_mode("default")
        places += [f"{warned.filename}:{warned.lineno}" for warned in caught if "synchroniz" in str(warned.message)]
    return len(places) / steps, sorted({*places})


class Speed(NamedTuple):
    items: float  # a second
    unit: str
    waits: float  # the share of the time that the device waits for data
    flops: float  # a second
    peak: float  # of a large matrix product in the same precision


def speed(backend: Any, options: TrainOptions, steps: int, scratch: Path) -> Speed:
    """The speed of training, beside that on a batch that is there already, and that of a matrix product."""
    trainer = trainer_of(backend, options, scratch)
    learner, device = trainer.learner, trainer.device
    batch = learner.batch(0)
    moved = to_device(batch, device)

    def timed(own: bool) -> float:
        synchronize(device)
        began = time.perf_counter()
        for step, given in (
            enumerate(batches(learner.batch, 0, steps, device)) if own else ((s, (batch, moved)) for s in range(steps))
        ):
            trainer.step(given[0], step, given[1])
        synchronize(device)
        return time.perf_counter() - began

    for step in range(max(1, steps // 5)):
        trainer.step(batch, step, moved)
    fixed, real = timed(False), timed(True)
    with FlopCounterMode(display=False) as counter:
        for phase in learner.phases(1, trainer.plan):
            with autocast(device, trainer.precision):
                loss = phase.loss(moved).mean
            loss.backward()
    for network in learner.networks.values():
        network.zero_grad()
    items = sum(learner.count(learner.batch(step)) for step in range(steps))
    flops = counter.get_total_flops() * steps / real
    return Speed(items / real, learner.unit, max(0.0, 1 - fixed / real), flops, peak_flops(device, trainer.precision))


def peak_flops(device: torch.device, precision: str) -> float:
    """Operations a second of a large square matrix product."""
    width, times = (512, 3) if device.type == "cpu" else (8192, 20)
    a = torch.randn(width, width, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    for timing in (False, True):
        synchronize(device)
        began = time.perf_counter()
        for _ in range(times if timing else 2):
            a @ a
        synchronize(device)
    return 2.0 * width**3 * times / (time.perf_counter() - began)
