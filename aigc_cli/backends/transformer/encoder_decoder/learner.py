"""Training an encoder–decoder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from aigc_cli.backends.transformer.config import EncoderDecoderPlan
from aigc_cli.backends.transformer.decoding.generate import Job
from aigc_cli.backends.transformer.encoder_decoder.incremental import Seq2SeqLM
from aigc_cli.backends.transformer.encoder_decoder.likelihood import answer_lengths, answer_nats
from aigc_cli.backends.transformer.encoder_decoder.model import EncoderDecoder, save_pretrained
from aigc_cli.backends.transformer.encoder_decoder.pairs import PairBatches, Pairs
from aigc_cli.backends.transformer.encoder_decoder.presets import model_config
from aigc_cli.backends.transformer.learner import PREVIEWS, LanguageLearner
from aigc_cli.backends.transformer.loss import cross_entropy
from aigc_cli.backends.transformer.prepare import fields_of, source_share
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.engine.learner import Batch, Loss, Preview

EVALUATED_AT_ONCE = 64


class PairLearner(LanguageLearner):
    """Trains an encoder–decoder to answer sources."""

    def __init__(self, plan: EncoderDecoderPlan, data: TextDataset, device: torch.device) -> None:
        tokenizer = data.tokenizer
        self.model = EncoderDecoder(model_config(plan, tokenizer.vocab_size, tokenizer.eot_id, tokenizer.sos_id))
        start = Start(with_eot=True, fields=fields_of(plan), answers=True, source_share=source_share(plan))
        super().__init__(plan, data, self.model, start, device)
        pairs = Pairs.of(data.train, tokenizer)
        ends = (tokenizer.sos_id, tokenizer.eot_id)
        self.batches = PairBatches(pairs, plan.batch_size, *ends, longest=plan.context, seed=plan.seed)
        self.steps_per_epoch = len(pairs) / plan.batch_size
        self.held_out = Pairs.of(data.select, tokenizer, measured=True)
        self.order = np.random.default_rng(plan.seed).permutation(len(self.held_out))
        self.eval_items = len(self.held_out)
        self.chars, _ = answer_lengths(self.held_out, tokenizer)

    def loss(self, batch: Batch) -> Loss:
        hidden = self.model(batch["source"], batch["source_lengths"], batch["target_in"])
        return Loss(cross_entropy(hidden, self.model.head, batch["targets"])[0])

    def evaluate(self, items: int) -> dict[str, float]:
        """Bits per character of the first `items` held-out targets of a fixed shuffle."""
        index = self.order[: min(items, len(self.order))]
        nats = answer_nats(self.model, self.held_out, index, batch_size=EVALUATED_AT_ONCE, device=self.device)
        return {"bits_per_char": float(nats.sum()) / max(1, int(self.chars[index].sum())) / math.log(2)}

    def preview(self) -> Preview:
        """Answers to the first sources of a fixed shuffle."""
        tokenizer = self.data.tokenizer
        chosen = self.order[:PREVIEWS].tolist()
        jobs = [Job(number, [*self.held_out.source(i), tokenizer.eot_id]) for number, i in enumerate(chosen)]
        sources = [self.held_out.source_text(i, tokenizer) for i in chosen]
        pairs = [
            f"{source}\n{answer}" for source, answer in zip(sources, self.generated(Seq2SeqLM(self.model), jobs), strict=True)
        ]
        return Preview(".txt", ("\n\n".join(pairs) + "\n").encode(), pairs[0])

    def first_sample(self) -> str:
        """Arguments to answer the source that previews answered."""
        source = self.held_out.source_text(int(self.order[0]), self.data.tokenizer) if len(self.order) else ""
        return f"--prompt {self.quoted(source)} -n 4"

    def save_network(self, folder: Path) -> None:
        save_pretrained(self.model, folder)

    def describe(self) -> str:
        c = self.model.config
        return (
            f"{c.num_encoder_layers} encoder and {c.num_decoder_layers} decoder layers of width {c.d_model}, "
            f"{super().describe()}, up to {c.context} tokens, vocabulary {c.vocab_size:,}"
        )
