"""The architectures of `--arch`: how each is planned, trained, evaluated and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.transformer.config import DecoderOnlyPlan, EncoderDecoderPlan, Eval, Train, TransformerPlan
from aigc_cli.backends.transformer.decoder_only.eval import evaluation as text_evaluation
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.learner import TransformerLearner
from aigc_cli.backends.transformer.decoder_only.model import load_pretrained as load_transformer
from aigc_cli.backends.transformer.decoder_only.presets import plan_for as plan_for_texts
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.encoder_decoder.eval import evaluation as answer_evaluation
from aigc_cli.backends.transformer.encoder_decoder.incremental import Seq2SeqLM
from aigc_cli.backends.transformer.encoder_decoder.learner import PairLearner
from aigc_cli.backends.transformer.encoder_decoder.model import load_pretrained as load_encoder_decoder
from aigc_cli.backends.transformer.encoder_decoder.presets import plan_for as plan_for_pairs
from aigc_cli.backends.transformer.learner import LanguageLearner
from aigc_cli.backends.transformer.loaded import Loaded, load
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.engine.trainable import Machine
from aigc_cli.errors import understood

AnyPlan = TypeVar("AnyPlan", bound=TransformerPlan)


@dataclass(frozen=True)
class Architecture(Generic[AnyPlan]):
    plan_type: type[AnyPlan]
    plan: Callable[[Train, Any, Machine], tuple[AnyPlan, list[str]]]
    learner: Callable[[AnyPlan, Any, torch.device], LanguageLearner]
    evaluate: Callable[[Run, Eval, Bus], Evaluation]
    load: Callable[[Run, str, Bus], Loaded[LanguageModel]]


ARCHITECTURES: dict[str, Architecture[Any]] = {
    "decoder-only": Architecture(
        DecoderOnlyPlan,
        plan_for_texts,
        TransformerLearner,
        text_evaluation,
        lambda run, device, bus: load(run, load_transformer, CausalLM, device, bus),
    ),
    "encoder-decoder": Architecture(
        EncoderDecoderPlan,
        plan_for_pairs,
        PairLearner,
        answer_evaluation,
        lambda run, device, bus: load(run, load_encoder_decoder, Seq2SeqLM, device, bus),
    ),
}


def of_data(arch: str, info: Mapping[str, Any]) -> Architecture[Any]:
    """The architecture for data that a run records as `info`."""
    if "fields" not in info:
        return ARCHITECTURES[arch]
    from aigc_cli.backends.transformer.records.architecture import RECORDS

    return RECORDS


def of_run(run: Run) -> Architecture[Any]:
    """The architecture of a run's model."""
    with understood(f"run {run.path}: its run.json"):
        return of_data(run.record["plan"].get("arch", "decoder-only"), run.record["data"])
