"""Training steps as a GPU would run them, tried without one on PyTorch's device "meta", whose tensors have no values.

So reading a value, which on a GPU means to wait for it, is an error.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aigc_cli.backends.gan import config as gan
from aigc_cli.backends.gan.backend import GANBackend
from aigc_cli.backends.transformer import config as transformer
from aigc_cli.backends.transformer.backend import TransformerBackend
from aigc_cli.backends.vae import config as vae
from aigc_cli.backends.vae.backend import VAEBackend
from aigc_cli.engine.device import to_device
from aigc_cli.engine.events import Bus
from aigc_cli.engine.planning.plan import plan_run
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.step import TrainStep

GPU = torch.device("meta")
PAIRS: dict[str, Any] = {"data": "pairs.tsv", "batch_size": 4, "context": 32, "tokenizer": "byte"}
PICTURES: dict[str, Any] = {"data": "demo:shapes?n=120", "batch_size": 8, "size": "16"}
#: By name, a backend, its options and the steps to try: with and without what happens only now and then, and in each stage.
RUNS: dict[str, tuple[Any, TrainOptions, list[int]]] = {
    "decoder-only": (TransformerBackend(), transformer.Train(**PAIRS, dropout=0.1), [0]),
    "encoder-decoder": (TransformerBackend(), transformer.Train(**PAIRS, arch="encoder-decoder"), [0]),
    "gan": (GANBackend(), gan.Train(**PICTURES, conditional=True), [0, 1]),
    "gan of textures": (GANBackend(), gan.Train(**PICTURES | {"data": "texture.png"}, tile=True), [0, 1]),
    "gan with clusters": (GANBackend(), gan.Train(**PICTURES, clusters=4), [0, 1]),
    "vae": (VAEBackend(), vae.Train(**PICTURES, conditional=True, free_bits=0.1), [0]),
    "vae of binary pictures": (VAEBackend(), vae.Train(**PICTURES, binarise="dynamic"), [0]),
    "vae for samples": (VAEBackend(), vae.Train(**PICTURES, objective="samples", conditional=True), [0, 32, 33, 45]),
    "vae with codes": (VAEBackend(), vae.Train(**PICTURES, codes=True), [0, 48, 49]),
}


class Watched(TorchDispatchMode):
    """Raises an error where a tensor on the device meets one that isn't."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = {tensor.device == GPU for tensor in tensors if tensor.ndim or tensor.device == GPU}
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        assert copies or len(there) < 2, f"{func} of tensors on {[str(tensor.device) for tensor in tensors]}"
        return func(*args, **(kwargs or {}))


def sent(*args: Any, device: torch.device | None = None, **kwargs: Any) -> Tensor:
    """`torch.tensor`, which copies values from the CPU and waits until that is done."""
    assert device != GPU, "a value is sent to the device"
    return torch.as_tensor(*args, device=device, **kwargs)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", RUNS)
def test_a_training_step_neither_leaves_the_gpu_nor_waits_for_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("\n".join(["one\tother", *(f"line {i}\tits {i * i}th answer" for i in range(300))]))
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save("texture.png")
    backend, options, steps = RUNS[name]
    options = dataclasses.replace(options, preset="nano", steps=100, device="cpu", threads=1)
    trainer = plan_run(backend, options, "", Bus(), tmp_path).trainer
    learner = trainer.learner
    for network in learner.networks.values():
        network.to(GPU)
    learner.device = GPU  # type: ignore[attr-defined]
    step = TrainStep(learner, GPU, "fp32", Bus())
    step.skips_on_device = True
    monkeypatch.setattr(torch, "tensor", sent)
    for number in steps:
        batch = learner.batch(number)
        moved = to_device(batch, GPU)
        with Watched():
            assert step(batch, number, trainer.plan, trainer.state, moved).values.device == GPU
