"""The language models in training: what they share, and the one of texts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from aigc_cli.backends.transformer.config import Train
from aigc_cli.backends.transformer.decoder_only.model import Transformer, save_pretrained
from aigc_cli.backends.transformer.decoder_only.packing import (
    Corpus,
    Pieces,
    TrainingBatches,
    block_diagonal,
    evaluation_pieces,
)
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.encoder_decoder.model import EncoderDecoder
from aigc_cli.backends.transformer.likelihood import prediction_nats
from aigc_cli.backends.transformer.loaded import Opened
from aigc_cli.backends.transformer.loss import IGNORED, cross_entropy
from aigc_cli.backends.transformer.prepare import fields_of
from aigc_cli.backends.transformer.presets import model_config
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.engine.learner import MORE_TRAINING, Batch, Learner, Loss, Phase, Preview
from aigc_cli.engine.optim import MuonAdamW
from aigc_cli.engine.settings import TrainOptions

#: AdamW's peak learning rate as a share of Muon's.
ADAMW_SHARE = 0.2
PREVIEWS, PREVIEW_TOKENS = 2, 200
#: Passes over the text after which a model that is regularised for as many hardly gains.
USEFUL_EPOCHS = 60


class LanguageLearner(Learner):
    """A network that predicts tokens, of whatever architecture."""

    objective = "bits_per_char"
    unit = "tokens"
    batches: Callable[[int], Batch]
    steps_per_epoch: float  # in which everything is seen once

    def __init__(self, plan: Train, data: TextDataset, network: nn.Module, start: Start, device: torch.device) -> None:
        self.plan, self.data, self.device = plan, data, device
        # What a model begun from another's weights has seen is not known here.
        self.start = start if plan.init_from is not None else replace(start, unseen=data.unseen)
        self.networks = {"model": network.to(device)}
        self.optimizers = {"model": self._optimizer(network)}

    def _optimizer(self, network: nn.Module) -> MuonAdamW:
        """Muon for the blocks' matrices, AdamW for embeddings, output layer and norms."""
        assert self.plan.lr
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

    def phases(self, step: int, plan: TrainOptions) -> Sequence[Phase]:
        return [Phase("model", self.loss, max_grad_norm=1.0)]

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """The mean cost of the batch's targets."""

    def written(self, model: Transformer | EncoderDecoder, jobs: Iterable[Job]) -> list[str]:
        """Short samples, for a look."""
        opened = Opened(model, self.data.tokenizer, self.start, self.device)
        options = SamplingOptions(max_tokens=PREVIEW_TOKENS)
        samples = opened.generate(jobs, options=options, seed=self.plan.seed, batch_size=PREVIEWS)
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

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        return advice(history, self.steps_per_epoch)


class TransformerLearner(LanguageLearner):
    """The decoder-only model, which learns texts."""

    def __init__(self, plan: Train, data: TextDataset, device: torch.device) -> None:
        assert plan.context and plan.batch_size
        tokenizer = data.tokenizer
        self.model = Transformer(model_config(plan, tokenizer.vocab_size, tokenizer.eot_id, tokenizer.sos_id))
        super().__init__(plan, data, self.model, Start.of(data, plan.context, fields_of(plan)), device)
        corpus = Corpus.of(data.train, tokenizer)
        self.batches = TrainingBatches(corpus, plan.context, plan.batch_size, plan.seed)
        self.steps_per_epoch = corpus.predictions / (plan.batch_size * plan.context)
        self.held_out = Corpus.of(data.select, tokenizer, measured=True)
        pieces = evaluation_pieces(self.held_out, plan.context)
        self.pieces = pieces[np.random.default_rng(plan.seed).permutation(len(pieces))]
        self.eval_items = len(pieces)
        self.chars_per_prediction = float(data.select.chars.sum()) / self.held_out.predictions

    def loss(self, batch: Batch) -> Loss:
        mask = block_diagonal(batch["segments"]) if "segments" in batch else None
        hidden = self.model(batch["ids"], positions=batch.get("positions"), mask=mask)
        return Loss(cross_entropy(hidden, self.model.head, batch["targets"])[0])

    def evaluate(self, items: int) -> dict[str, float]:
        """Bits per character over the first `items` pieces of a fixed shuffle (over all of them, it is exact)."""
        pieces = self.pieces[np.arange(min(items, len(self.pieces)))]
        nats = prediction_nats(self.model, self.held_out, pieces, batch_size=32, device=self.device)
        return {"bits_per_char": float(nats.sum()) / scored(pieces) / self.chars_per_prediction / math.log(2)}

    def preview(self) -> Preview:
        texts = self.written(self.model, [Job(0, self.start.prompt_ids(self.data.tokenizer, None), PREVIEWS)])
        return Preview(".txt", ("\n\n".join(texts) + "\n").encode(), texts[0])

    def save_network(self, folder: Path) -> None:
        save_pretrained(self.model, folder)

    def describe(self) -> str:
        c = self.model.config
        shape = f"{c.n_layers} layers of width {c.d_model}, {super().describe()}"
        return f"{shape}, context {c.context}, vocabulary {c.vocab_size:,}"


def scored(pieces: Pieces) -> int:
    return int((pieces.length - pieces.context_only).sum())


def advice(history: Sequence[Mapping[str, Any]], steps_per_epoch: float) -> list[str]:
    """What would help most, from how the held-out cost went and how often the text was seen."""
    held_out = [(line["step"], line["bits_per_char"]) for line in history if line.get("event") == "evaluated"]
    if len(held_out) < 3:
        return []
    best_step, best = min(held_out, key=lambda pair: pair[1])
    last_step, last = held_out[-1]
    epochs = last_step / steps_per_epoch
    if last > best * 1.01 and epochs < 2:
        return [f"held-out cost rose after step {best_step}, from {best:.3f} to {last:.3f}: try a smaller --lr"]
    if last > best * 1.01:
        return [
            f"held-out cost was lowest at step {best_step} ({best:.3f} bits per character) and is {last:.3f} now: the text was "
            f"seen {epochs:.0f} times and is being learned by heart; more text would help most, then a smaller --preset or "
            "more --dropout; the best checkpoint is the one kept"
        ]
    if epochs > 20:
        return [f"the text was seen {epochs:.0f} times: more text would help more than more time"]
    if last > best or last > held_out[-2][1] * 0.999:
        return [f"held-out cost has levelled off at {best:.3f} bits per character: a larger --preset or more text would help"]
    return [f"the text was seen {epochs:.1f} times and the held-out cost still fell: {MORE_TRAINING}"]
