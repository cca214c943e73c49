"""A run's model, opened to sample from or to measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from aigc_cli.backends.transformer.decoder_only import model
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoding.generate import Generated, Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.token_rules import Rules, characters_of
from aigc_cli.backends.transformer.encoder_decoder import model as seq2seq
from aigc_cli.backends.transformer.encoder_decoder.model import EncoderDecoder
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.device import open_device
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.errors import RequestError

if TYPE_CHECKING:
    from aigc_cli.backends.transformer.decoding.regex_constraint import Form


@dataclass(frozen=True)
class Opened:
    """A run's model, ready to be asked."""

    model: Transformer | EncoderDecoder
    tokenizer: Tokenizer
    start: Start
    device: torch.device

    def rules(self, form: Form | None = None) -> Rules:
        """What its texts may be made of: tokens that training had, unless a form may ask for others."""
        tokenizer = self.tokenizer
        never = {*tokenizer.unwritten, *(self.start.unseen if form is None else ())}
        return Rules(tokenizer.eot_id, self.start.ends(tokenizer), sorted(never), characters_of(tokenizer))

    def generate(
        self,
        jobs: Iterable[Job],
        *,
        options: SamplingOptions,
        seed: int,
        batch_size: int,
        form: Form | None = None,
        on_bytes: Callable[[int, bytes], None] | None = None,
    ) -> Iterator[Generated]:
        """Samples, as `generate` makes them of this model."""
        return generate(
            self.model,
            jobs,
            options=options,
            rules=self.rules(form),
            seed=seed,
            decode_bytes=self.tokenizer.decode_bytes,
            batch_size=batch_size,
            device=self.device,
            form=form,
            on_bytes=on_bytes,
        )


def open_run(run: Run, wanted: str, bus: Bus | None = None) -> Opened:
    """The run's model on a device."""
    device = open_device(wanted)
    try:
        tokenizer = Tokenizer.load(run.model)
    except (OSError, ValueError) as error:
        raise RequestError(f"run {run.path}: its tokenizer cannot be read: {error}") from error
    if tokenizer.changes and bus is not None:
        bus.note(f"words may be cut otherwise than in training, which had {', '.join(tokenizer.changes)}")
    start = Start.load(run.model)
    load = seq2seq.load_pretrained if start.answers else model.load_pretrained
    return Opened(load(run.model).to(device), tokenizer, start, device)
