"""The parts of training that both architectures share: optimiser, previews, saving, advice."""

from __future__ import annotations

import math
import shlex
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aigc_cli.backends.transformer.config import TransformerPlan
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.diagnostics import advice
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.loss import IGNORED
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.engine.learner import Batch, Learner, Loss, Phase
from aigc_cli.engine.optim import MuonAdamW
from aigc_cli.engine.settings import Plan

#: AdamW's peak learning rate as a share of Muon's.
ADAMW_SHARE = 0.2
PREVIEWS, PREVIEW_TOKENS = 2, 200
#: Objectives, as they are called in advice.
_UNITS = {"bits_per_char": "bits per character", "nats_per_event": "nats per event"}
#: Characters of a text in a suggested command.
SHOWN = 40
#: Epochs after which even a well-regularised model hardly improves.
USEFUL_EPOCHS = 60


class LanguageLearner(Learner):
    """A network of any architecture that predicts tokens."""

    objective = "bits_per_char"
    unit = "tokens"
    batches: Callable[[int], Batch]
    steps_per_epoch: float

    def __init__(
        self, plan: TransformerPlan, data: TextDataset, network: nn.Module, start: Start, device: torch.device
    ) -> None:
        self.plan, self.data, self.device = plan, data, device
        # With --init-from, the other run's training may have had these tokens.
        self.start = start if plan.init_from is not None else replace(start, unseen=data.unseen)
        self.networks = {"model": network.to(device)}
        self.optimizers = {"model": self._optimizer(network)}

    def _optimizer(self, network: nn.Module) -> MuonAdamW:
        """Muon for the matrices of the blocks, AdamW for embeddings, output layer and norms."""
        named = dict(network.named_parameters())
        matrices = [p for name, p in named.items() if p.ndim == 2 and ".layers." in name]
        tables = [p for name, p in named.items() if p.ndim == 2 and ".layers." not in name]
        vectors = [p for p in named.values() if p.ndim < 2]
        rest = {"lr": self.plan.lr * ADAMW_SHARE, "betas": (0.8, 0.95)}
        return MuonAdamW(
            matrices,
            [{"params": tables, **rest}, {"params": vectors, **rest}],
            muon_lr=self.plan.lr,
            muon_weight_decay=self.plan.weight_decay,
        )

    def batch(self, step: int) -> Batch:
        return self.batches(step)

    def count(self, batch: Batch) -> int:
        return int((batch["targets"] != IGNORED).sum())

    def phases(self, step: int, plan: Plan) -> Sequence[Phase]:
        return [Phase("model", self.loss, max_grad_norm=1.0)]

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """The mean loss of the batch's targets."""

    def generated(self, model: LanguageModel, jobs: Iterable[Job]) -> list[str]:
        """Short samples, for a preview."""
        loaded = Loaded(model, self.data.tokenizer, self.start, self.device)
        options = SamplingOptions(max_tokens=PREVIEW_TOKENS)
        samples = loaded.generate(jobs, options=options, seed=self.plan.seed, batch_size=PREVIEWS)
        return [sample.text for sample in samples]

    def save_model(self, folder: Path) -> None:
        self.save_network(folder)
        self.data.tokenizer.save(folder)
        self.start.save(folder)

    @abstractmethod
    def save_network(self, folder: Path) -> None:
        """Write config.json and the weights."""

    def useful_steps(self) -> int:
        return math.ceil(USEFUL_EPOCHS * self.steps_per_epoch)

    def quoted(self, text: str, option: str = "") -> str:
        """The beginning of a text as an argument in a shell, after `option`."""
        return shlex.quote(option + " ".join(text[:SHOWN].split()))

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        return advice(history, self.steps_per_epoch, objective=self.objective, unit=_UNITS[self.objective])
