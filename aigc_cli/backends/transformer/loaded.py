"""A run's model, loaded for sampling or evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import nn

from aigc_cli.backends.base import Codec
from aigc_cli.backends.codecs import open_codec
from aigc_cli.backends.transformer.decoding.generate import Generated, Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.decoding.token_rules import TokenRules, characters_of
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.device import open_device
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError

if TYPE_CHECKING:
    from aigc_cli.backends.transformer.decoding.regex_constraint import RegexConstraint

#: The folder of a model that holds the codec of its pictures.
CODEC = "codec"

Network = TypeVar("Network", bound=nn.Module)
Model = TypeVar("Model", bound=LanguageModel, covariant=True)


@dataclass(frozen=True)
class Loaded(Generic[Model]):
    """A model with its tokenizer."""

    model: Model
    tokenizer: Tokenizer
    start: Start
    device: torch.device
    codec: Codec | None = None  # of the fields that are pictures

    def rules(self, constraint: RegexConstraint | None = None) -> TokenRules:
        """The tokens that may be generated: those that occurred in training, but with a constraint also others."""
        tokenizer = self.tokenizer
        never = {*tokenizer.unwritten, *(self.start.unseen if constraint is None else ())}
        coded = self.start.coded(tokenizer)
        return TokenRules(tokenizer.eot_id, self.start.ends(tokenizer), sorted(never), characters_of(tokenizer), coded)

    def generate(
        self,
        jobs: Iterable[Job],
        *,
        options: SamplingOptions,
        seed: int,
        batch_size: int,
        constraint: RegexConstraint | None = None,
        on_bytes: Callable[[int, bytes], None] | None = None,
    ) -> Iterator[Generated]:
        """Samples from the function `generate`."""
        return generate(
            self.model,
            jobs,
            options=options,
            rules=self.rules(constraint),
            seed=seed,
            decode_bytes=self.tokenizer.decode_bytes,
            batch_size=batch_size,
            device=self.device,
            constraint=constraint,
            on_bytes=on_bytes,
        )


def load(
    run: Run,
    network: Callable[[Path], Network],
    model: Callable[[Network], Model],
    wanted: str,
    bus: Bus | None = None,
) -> Loaded[Model]:
    """A run's model on the device called `wanted`: `network` loads the weights from a folder, `model` wraps them as a language
    model. Raises `RequestError` if a file can't be read."""
    device = open_device(wanted)
    try:
        tokenizer = Tokenizer.load(run.model)
    except (OSError, ValueError) as error:
        raise RequestError(f"run {run.path}: its tokenizer cannot be read: {error}") from error
    if tokenizer.changes and bus is not None:
        bus.note(f"words may be split differently than in training, which used {', '.join(tokenizer.changes)}")
    start = Start.load(run.model)
    codec = open_codec(run.model / CODEC, wanted) if any(start.codes) else None
    return Loaded(model(network(run.model).to(device)), tokenizer, start, device, codec)
