"""A run's model, opened to sample from or to measure."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from aigc_cli.backends.transformer.model import Transformer, load_pretrained
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.tokenizers import Tokenizer
from aigc_cli.engine.device import open_device
from aigc_cli.engine.run import Run
from aigc_cli.errors import RequestError


@dataclass(frozen=True)
class Opened:
    """A run's model, ready to be asked."""

    model: Transformer
    tokenizer: Tokenizer
    start: Start
    device: torch.device


def open_run(run: Run, wanted: str) -> Opened:
    """The run's model on a device."""
    device = open_device(wanted)
    try:
        tokenizer = Tokenizer.load(run.model)
    except (OSError, ValueError) as error:
        raise RequestError(f"run {run.path}: its tokenizer cannot be read: {error}") from error
    return Opened(load_pretrained(run.model).to(device), tokenizer, Start.load(run.model), device)
