"""Training a decoder-only model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from aigc_cli.backends.transformer.config import DecoderOnlyPlan
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.likelihood import prediction_nats
from aigc_cli.backends.transformer.decoder_only.model import Transformer, save_pretrained
from aigc_cli.backends.transformer.decoder_only.packing import (
    Corpus,
    Pieces,
    TrainingBatches,
    block_diagonal,
    evaluation_pieces,
)
from aigc_cli.backends.transformer.decoder_only.presets import model_config
from aigc_cli.backends.transformer.decoding.generate import Job
from aigc_cli.backends.transformer.learner import PREVIEWS, LanguageLearner
from aigc_cli.backends.transformer.loss import cross_entropy
from aigc_cli.backends.transformer.prepare import fields_of
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.engine.learner import Batch, Loss, Preview


class TransformerLearner(LanguageLearner):
    """Trains a decoder-only model on texts."""

    def __init__(self, plan: DecoderOnlyPlan, data: TextDataset, device: torch.device) -> None:
        tokenizer = data.tokenizer
        self.model = Transformer(model_config(plan, tokenizer.vocab_size, tokenizer.eot_id, tokenizer.sos_id))
        super().__init__(plan, data, self.model, self.starts(plan, data), device)
        self.objective, self.nats_per_unit = data.kind.likelihood
        corpus = Corpus.of(data.train, tokenizer)
        self.batches = TrainingBatches(corpus, plan.context, plan.batch_size, plan.seed)
        self.steps_per_epoch = corpus.predictions / (plan.batch_size * plan.context)
        self.held_out = Corpus.of(data.select, tokenizer, measured=True)
        pieces = evaluation_pieces(self.held_out, plan.context)
        self.pieces = pieces[np.random.default_rng(plan.seed).permutation(len(pieces))]
        self.eval_items = len(pieces)
        self.chars_per_prediction = float(data.select.chars.sum()) / self.held_out.predictions

    def starts(self, plan: DecoderOnlyPlan, data: TextDataset) -> Start:
        """How generated texts start."""
        return Start.of(data, plan.context, fields_of(plan))

    def loss(self, batch: Batch) -> Loss:
        mask = block_diagonal(batch["segments"], batch.get("branches")) if "segments" in batch else None
        hidden = self.model(batch["ids"], positions=batch.get("positions"), mask=mask)
        return Loss(cross_entropy(hidden, self.model.head, batch["targets"], batch.get("weights"))[0])

    def evaluate(self, items: int) -> dict[str, float]:
        """What a character costs in the first `items` pieces of a fixed shuffle (exact for all pieces), in bits for texts."""
        pieces = self.pieces[np.arange(min(items, len(self.pieces)))]
        nats = prediction_nats(self.model, self.held_out, pieces, batch_size=32, device=self.device)
        return {self.objective: float(nats.sum()) / scored(pieces) / self.chars_per_prediction / self.nats_per_unit}

    def preview(self) -> Preview:
        texts = self.generated(CausalLM(self.model), [Job(0, self.start.prompt_ids(self.data.tokenizer, None), PREVIEWS)])
        return Preview(*self.data.kind.preview(texts))

    def first_sample(self) -> str:
        """Arguments to go on from the first field of a held-out text, if texts have fields."""
        if len(self.start.fields) < 2:
            return super().first_sample()
        data, tokenizer = self.data.select, self.data.tokenizer
        end = int(data.offsets[1])
        ids = data.ids(0, end)
        first = tokenizer.decode(ids[: ids.index(tokenizer.field_id)] if tokenizer.field_id in ids else ids)
        return f"--given {self.quoted(first, f'{self.start.fields[0]}=')} -n 4"

    def save_network(self, folder: Path) -> None:
        save_pretrained(self.model, folder)

    def describe(self) -> str:
        c = self.model.config
        shape = f"{c.n_layers} layers of width {c.d_model}, {super().describe()}"
        return f"{shape}, context {c.context}, vocabulary {c.vocab_size:,}"


def scored(pieces: Pieces) -> int:
    return int((pieces.length - pieces.context_only).sum())
