"""The Transformer in training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aigc_cli.backends.transformer.config import Train
from aigc_cli.backends.transformer.evaluate import prediction_nats
from aigc_cli.backends.transformer.generate import Job, SamplingOptions, generate
from aigc_cli.backends.transformer.loss import IGNORED, cross_entropy
from aigc_cli.backends.transformer.model import Transformer, save_pretrained
from aigc_cli.backends.transformer.packing import (
    Corpus,
    Pieces,
    TrainingBatches,
    block_diagonal,
    evaluation_pieces,
)
from aigc_cli.backends.transformer.prepare import fields_of
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.backends.transformer.sizes import model_config
from aigc_cli.data.text import TextDataset
from aigc_cli.engine.learner import Batch, Learner, Loss, Phase, Preview
from aigc_cli.engine.optim import MuonAdamW
from aigc_cli.engine.settings import TrainOptions

#: AdamW's peak learning rate as a share of Muon's.
ADAMW_SHARE = 0.2
PREVIEWS, PREVIEW_TOKENS = 2, 200
#: Passes over the text after which a model that is regularised for as many hardly gains.
USEFUL_EPOCHS = 60


class TransformerLearner(Learner):
    objective = "bits_per_char"
    unit = "tokens"

    def __init__(self, plan: Train, data: TextDataset, device: torch.device) -> None:
        self.plan, self.data, self.device = plan, data, device
        assert plan.context and plan.batch_size and plan.lr
        tokenizer = data.tokenizer
        config = model_config(plan, tokenizer.vocab_size, tokenizer.eot_id, tokenizer.sos_id)
        self.model = Transformer(config).to(device)
        self.networks = {"model": self.model}
        self.optimizers = {"model": self._optimizer(plan.lr, plan.weight_decay)}
        self.start = Start.of(data, plan.context, fields_of(plan))
        self.batches = TrainingBatches(Corpus.of(data.train, tokenizer), plan.context, plan.batch_size, plan.seed)
        self.held_out = Corpus.of(data.select, tokenizer, measured=True)
        pieces = evaluation_pieces(self.held_out, plan.context)
        self.pieces = pieces[np.random.default_rng(plan.seed).permutation(len(pieces))]
        self.eval_items = len(pieces)
        self.chars_per_prediction = float(data.select.chars.sum()) / self.held_out.predictions

    def _optimizer(self, lr: float, weight_decay: float) -> MuonAdamW:
        """Muon for the blocks' matrices, AdamW for embeddings, output layer and norms."""
        named = dict(self.model.named_parameters())
        matrices = [p for name, p in named.items() if p.ndim == 2 and ".layers." in name]
        tables = [p for name, p in named.items() if p.ndim == 2 and ".layers." not in name]
        vectors = [p for p in named.values() if p.ndim < 2]
        rest = {"lr": lr * ADAMW_SHARE, "betas": (0.8, 0.95)}
        return MuonAdamW(
            matrices,
            [{"params": tables, **rest}, {"params": vectors, **rest}],
            muon_lr=lr,
            muon_weight_decay=weight_decay,
        )

    def batch(self, step: int) -> Batch:
        return self.batches(step)

    def count(self, batch: Batch) -> int:
        return int((batch["targets"] != IGNORED).sum())

    def phases(self, step: int, plan: TrainOptions) -> Sequence[Phase]:
        return [Phase("model", self.loss, max_grad_norm=1.0)]

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
        tokenizer = self.data.tokenizer
        jobs = [Job(0, self.start.prompt_ids(tokenizer, None), PREVIEWS)]
        options = SamplingOptions(max_tokens=PREVIEW_TOKENS)
        samples = generate(
            self.model,
            jobs,
            options=options,
            eot_id=tokenizer.eot_id,
            seed=self.plan.seed,
            decode_bytes=tokenizer.decode_bytes,
            fields=self.start.ends(tokenizer),
            never=tokenizer.unwritten,
            batch_size=PREVIEWS,
            device=self.device,
        )
        texts = [sample.content.decode("utf-8", "replace") for sample in samples]
        return Preview(".txt", ("\n\n".join(texts) + "\n").encode(), texts[0])

    def save_model(self, folder: Path) -> None:
        save_pretrained(self.model, folder)
        self.data.tokenizer.save(folder)
        self.start.save(folder)

    def useful_steps(self) -> int:
        assert self.plan.batch_size and self.plan.context
        return math.ceil(USEFUL_EPOCHS * self.batches.corpus.predictions / (self.plan.batch_size * self.plan.context))

    def describe(self) -> str:
        c = self.model.config
        total = sum(p.numel() for p in self.model.parameters())
        return (
            f"{c.n_layers} layers of width {c.d_model}, {total / 1e6:.2f} M parameters, context {c.context}, "
            f"vocabulary {c.vocab_size:,}"
        )

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        return advice(history, self.plan, self.batches.corpus.predictions)


def scored(pieces: Pieces) -> int:
    return int((pieces.length - pieces.context_only).sum())


def advice(history: Sequence[Mapping[str, Any]], plan: Train, predictions: int) -> list[str]:
    """What would help most, from how the held-out cost went and how often the text was seen."""
    held_out = [(line["step"], line["bits_per_char"]) for line in history if line.get("event") == "evaluated"]
    if len(held_out) < 3:
        return []
    assert plan.batch_size and plan.context
    best_step, best = min(held_out, key=lambda pair: pair[1])
    last_step, last = held_out[-1]
    epochs = last_step * plan.batch_size * plan.context / predictions
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
    return [f"the text was seen {epochs:.1f} times and the held-out cost was still falling: more --minutes would help"]
