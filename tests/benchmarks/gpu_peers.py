"""How fast others' code trains on the same device, for `gpu.py`: nanoGPT's model, and PyTorch's DCGAN example."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import torch
from peer_models import DCGAN

from aigc_cli.engine.device import autocast, synchronize

#: nanoGPT's config/train_shakespeare_char.py, in the names of its GPTConfig.
SHAPE = {"block_size": 256, "n_layer": 6, "n_head": 6, "n_embd": 384, "dropout": 0.2, "bias": False}
BATCH = 64


def seconds_a_step(step: Callable[[], None], steps: int, device: torch.device) -> float:
    """After a third as many, in which kernels are compiled and chosen."""
    for _ in range(max(1, steps // 3)):
        step()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(device)
    return (time.perf_counter() - began) / steps


def nanogpt(checkout: Path, device: torch.device, precision: str, vocabulary: int, steps: int, *, compiled: bool) -> float:
    """Seconds of a step on a batch of 64 rows of 256 tokens, as its train.py makes it."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", checkout / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    with redirect_stdout(sys.stderr):  # it tells its sizes
        plain = module.GPT(module.GPTConfig(vocab_size=vocabulary, **SHAPE)).to(device)
        optimizer = plain.configure_optimizers(0.1, 1e-3, (0.9, 0.99), device.type)
    model = torch.compile(plain) if compiled else plain
    tokens = torch.randint(vocabulary, (BATCH, SHAPE["block_size"] + 1), device=device)

    def step() -> None:
        with autocast(device, precision):
            _, loss = model(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return seconds_a_step(step, steps, device)


def dcgan(checkout: Path, device: torch.device, steps: int) -> float:
    """Seconds of a step on a batch of 64 pictures of 64×64, as its main.py makes it."""
    example = DCGAN(checkout)
    torch.manual_seed(0)
    generator, discriminator, optimizers = example.networks(3, device)
    real = torch.rand(example.BATCH, 3, example.SIDE, example.SIDE, device=device) * 2 - 1
    return seconds_a_step(lambda: example.step(generator, discriminator, optimizers, real), steps, device)
