"""Training a decoder-only model on records of texts and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.transformer.config import DecoderOnlyPlan
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.learner import TransformerLearner, scored
from aigc_cli.backends.transformer.decoder_only.likelihood import field_numbers, prediction_nats
from aigc_cli.backends.transformer.decoder_only.packing import Corpus
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.diagnostics import advice
from aigc_cli.backends.transformer.loaded import CODEC, Loaded
from aigc_cli.backends.transformer.loss import IGNORED
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.backends.transformer.records.contents import codes_in
from aigc_cli.backends.transformer.records.together import GroupBatches, Shared
from aigc_cli.backends.transformer.records.tokens import RecordTokens, parts_of, prompt_of
from aigc_cli.data.pictures.output import encode_picture, sheet
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.learner import Batch, Preview

#: The share of records that are learned with nothing in their leading fields, for --guidance.
DROPPED = 0.1
#: Records of a preview.
PREVIEWS = 16
#: Records whose predictions are looked at at once.
AT_ONCE = 1 << 12


class RecordLearner(TransformerLearner):
    data: RecordTokens

    def __init__(self, plan: DecoderOnlyPlan, data: RecordTokens, device: torch.device) -> None:
        super().__init__(plan, data, device)
        self.objective = "nats_per_record"
        self.records_per_prediction = data.select.n_docs / self.held_out.predictions
        self.n_leading = len(self.start.fields) - 1
        corpus = Corpus.of(data.train, data.tokenizer)
        n_last = count_in_last_field(corpus, self.n_leading, data.tokenizer)
        n_targets = corpus.predictions
        if plan.together:
            groups = self.group_batches(plan, corpus)
            self.batches, n_targets, self.steps_per_epoch = groups, groups.targets, groups.rows / plan.batch_size
        self.weights = field_weights(n_last / n_targets, plan.last_field)
        if self.weights is not None:
            self.objective = "nats_per_last_field"
            self.last = in_last_field(self.held_out, self.n_leading, data.tokenizer)

    def starts(self, plan: DecoderOnlyPlan, data: TextDataset) -> Start:
        assert isinstance(data, RecordTokens)
        return Start(True, tuple(field.name for field in data.fields), codes=data.codes)

    def group_batches(self, plan: DecoderOnlyPlan, corpus: Corpus) -> GroupBatches:
        tokenizer = self.data.tokenizer
        assert tokenizer.field_id is not None
        shared = Shared(corpus, tokenizer.field_id)
        return GroupBatches(
            shared, shared.row_length(plan.context, DROPPED), plan.batch_size,
            sos_id=tokenizer.sos_id, n_leading=self.n_leading, share=DROPPED, seed=plan.seed,
        )  # fmt: skip

    def batch(self, step: int) -> Batch:
        batch = dict(super().batch(step))
        if self.plan.together:
            last = batch.pop("last")
            return batch if self.weights is None else {**batch, "weights": torch.where(last > 0, *self.weights[::-1])}
        if not self.n_leading:
            return batch
        tokenizer = self.data.tokenizer
        assert tokenizer.field_id is not None
        rng = np.random.default_rng((self.plan.seed, step, len(self.start.fields)))
        batch = without_leading(batch, tokenizer.sos_id, tokenizer.field_id, self.n_leading, DROPPED, rng)
        return batch if self.weights is None else weighted(batch, tokenizer.field_id, self.n_leading, *self.weights)

    def evaluate(self, items: int) -> dict[str, float]:
        """Nats per record, and if the last field has a greater weight, those of it, from the first `items` records of a fixed
        shuffle."""
        pieces = self.pieces[np.arange(min(items, len(self.pieces)))]
        nats = prediction_nats(self.model, self.held_out, pieces, batch_size=32, device=self.device)
        records = scored(pieces) * self.records_per_prediction
        measured = {"nats_per_record": float(nats.sum()) / records}
        return measured if self.weights is None else {**measured, self.objective: float(nats[self.last].sum()) / records}

    def preview(self) -> Preview:
        """Records with the leading fields of held-out ones."""
        data, tokenizer = self.data, self.data.tokenizer
        loaded = Loaded(CausalLM(self.model), tokenizer, self.start, self.device)
        numbers = range(min(PREVIEWS, data.select.n_docs))
        prompts = [prompt_of(parts_of(data.select, number, tokenizer)[:-1], tokenizer) for number in numbers]
        jobs = [Job(index, prompt) for index, prompt in enumerate(prompts)]
        made = list(loaded.generate(jobs, options=SamplingOptions(), seed=self.plan.seed, batch_size=PREVIEWS))
        if not self.start.codes[-1]:
            texts = [one.fields[-1].decode("utf-8", "ignore") for one in made]
            return Preview(".txt", ("\n\n".join(texts) + "\n").encode(), texts[0])
        codes = np.stack([codes_in(one.ids, tokenizer, self.start.codes[-1]) for one in made])
        side = max(1, math.isqrt(len(codes)))
        pictures = list(data.codec.decode(codes[: side * side]))
        return Preview(".png", encode_picture(sheet(pictures, side), ".png"), grid=(side, side))

    def first_sample(self) -> str:
        """Arguments that give the leading text fields of a held-out record."""
        names, last_is_picture = self.start.fields, bool(self.start.codes[-1])
        n = " -n 4" if last_is_picture else ""
        if len(names) < 2:
            return n.strip()
        if self.start.codes[0]:
            return f"--given {names[0]}=FILE{n}"
        return f"--given {self.quoted(self.data.records.select.texts[names[0]][0], f'{names[0]}=')}{n}"

    def save_model(self, folder: Path) -> None:
        super().save_model(folder)
        self.data.codec.save(folder / CODEC)

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        return advice(
            history, self.steps_per_epoch, objective=self.objective, unit=self.objective.replace("_", " "), data="data"
        )

    def describe(self) -> str:
        return f"{super().describe()}, {self.data.codec.n_codes:,} of them codes"


def field_weights(share: float, least: float) -> tuple[float, float] | None:
    """The weights of targets in leading fields and in the last one, 1 on average, with which the last field, which has this
    `share` of all targets, has at least the share `least` of the loss; None if it has it anyway."""
    if share >= least:
        return None
    return (1 - least) / (1 - share), least / share


def in_last_field(corpus: Corpus, n_leading: int, tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Whether each prediction of the corpus, (predictions,), is of a record's last field or its end."""
    numbers = field_numbers(corpus, tokenizer.field_id, n_leading + 1)
    last: NDArray[np.bool_] = np.insert(numbers >= n_leading, corpus.offsets[1:], True)
    return last


def count_in_last_field(corpus: Corpus, n_leading: int, tokenizer: Tokenizer) -> int:
    """How many predictions of the corpus are of a record's last field or its end."""
    count = 0
    for number in range(0, len(corpus.offsets) - 1, AT_ONCE):
        offsets = corpus.offsets[number : number + AT_ONCE + 1]
        some = replace(corpus, tokens=corpus.tokens[offsets[0] : offsets[-1]], offsets=offsets - offsets[0])
        count += int(in_last_field(some, n_leading, tokenizer).sum())
    return count


def weighted(batch: Batch, field_id: int, n_leading: int, leading: float, last: float) -> dict[str, Tensor]:
    """The batch of `collate` with the weight of each target: `last` in the last field, `leading` before it."""
    ids = batch["ids"]
    positions = batch["positions"] if "positions" in batch else torch.arange(ids.shape[1]).expand_as(ids)
    ended = (ids == field_id).long().cumsum(1)
    at_begin = (torch.arange(ids.shape[1]) - positions).clamp(min=0)
    within = ended - ended.gather(1, at_begin)  # a record begins with <sos>, which ends no field
    return {**batch, "weights": torch.where(within >= n_leading, last, leading)}


def without_leading(
    batch: Batch, sos_id: int, field_id: int, n_leading: int, share: float, rng: np.random.Generator
) -> dict[str, Tensor]:
    """The batch of `collate` with nothing, which is <sos> in place of every token, in the leading fields of a random share of
    its records, where nothing is predicted. So the model learns the last field without what it is given too (Ho and Salimans
    2021)."""
    ids = batch["ids"].numpy()
    positions = batch["positions"].numpy() if "positions" in batch else np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    begins = positions == 0
    piece = np.cumsum(begins.reshape(-1)).reshape(ids.shape) - 1  # rows begin with a piece
    first = np.flatnonzero(begins.reshape(-1))
    ends = np.cumsum((ids == field_id).reshape(-1)).reshape(ids.shape)
    before = ends - (ids == field_id)  # ends of fields before each token
    within = before - before.reshape(-1)[first][piece]
    dropped = (rng.random(len(first)) < share) & (ids.reshape(-1)[first] == sos_id)
    leading = dropped[piece] & (within < n_leading) & (ids != field_id) & ~begins
    ids = np.where(leading, sos_id, ids)
    targets = batch["targets"].numpy().copy()
    targets[:, :-1][leading[:, 1:]] = IGNORED
    return {**batch, "ids": torch.from_numpy(ids), "targets": torch.from_numpy(targets)}
