"""Pictures that are drawn for the leading fields of held-out records: how good they are, and some to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.base import Codec
from aigc_cli.backends.pictures.quality import AT_ONCE, QualityOptions, quality
from aigc_cli.backends.transformer.config import Eval
from aigc_cli.backends.transformer.config import Sample as SampleOptions
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.records.contents import codes_in, guided
from aigc_cli.backends.transformer.records.held import SHOWN, Held
from aigc_cli.backends.transformer.records.tokens import RecordTokens
from aigc_cli.data.pictures.output import Pixels, encode_picture
from aigc_cli.engine.events import Bus
from aigc_cli.metrics.records.agreement import agreement
from aigc_cli.metrics.records.judge import train_judge
from aigc_cli.metrics.statistics.bootstrap import Measure

#: Pictures that are drawn unless -n says otherwise.
DRAWN = 1000


@dataclass(frozen=True)
class Drawn:
    """The pictures that a model draws for the leading fields of some held-out records."""

    held: Held
    numbers: NDArray[np.int64]  # (n,) of the records, in random order
    codes: NDArray[np.int64]  # of what is drawn for each, (n, places)

    def pictures(self) -> Iterator[Pixels]:
        """In chunks (b, height, width, channels)."""
        return _decoded(self.held.codec, self.codes)

    def reconstructions(self) -> Iterator[Pixels]:
        """The records' own pictures, turned into codes and back, in chunks."""
        return _decoded(self.held.codec, self.held.codes[self.numbers])

    def quality(self, data: RecordTokens, options: Eval, bus: Bus) -> tuple[dict[str, Measure], list[str]]:
        """Measures of the pictures, each beside those of reconstructions, and notes."""
        train, real = data.records.train.pictures, self.held.records.pictures
        return quality(
            self.pictures(), train, real, (), QualityOptions(n=_asked(options)),
            seed=options.seed, device=self.held.loaded.device, bus=bus, beside={"reconstructed": self.reconstructions()},
            heard=data.records.pictures.heard,
        )  # fmt: skip

    def agreement(self, data: RecordTokens, options: Eval, bus: Bus) -> dict[str, Measure]:
        """How often a judge that is trained on the training records finds the texts that a picture was drawn for, beside those
        of the real pictures and of reconstructions. Nothing if there are no texts, or all are the same."""
        records = data.records.train
        texts, of_training = (
            self.held.leading_texts(self.numbers.tolist()),
            self.held.leading_texts(range(len(records)), records),
        )
        if min(len({*texts}), len({*of_training})) < 2:
            return {}

        def tell(step: int, steps: int) -> None:
            bus.stage(f"training a judge of {data.records.pictures.things} and texts", step, steps)

        judge = train_judge(records.pictures.take, of_training, device=self.held.loaded.device, progress=tell)
        of_texts = judge.of_texts(texts)
        real = self.held.records.pictures
        chunks = {
            "drawn": self.pictures(),
            "reconstructed": self.reconstructions(),
            "real": (real.take(self.numbers[at : at + AT_ONCE]) for at in range(0, len(texts), AT_ONCE)),
        }
        found = {
            name: agreement(np.concatenate([*map(judge.of_pictures, of)]), of_texts, texts, seed=options.seed)
            for name, of in chunks.items()
        }
        return {"agreement": found.pop("drawn").beside(**found)}

    def examples(self) -> list[dict[str, str | bytes]]:
        """The leading fields of the first records with the real picture, the reconstructed one and the one that is drawn for
        them."""
        held, field = self.held, self.held.fields[-1]
        numbers = self.numbers[:SHOWN]
        found: list[dict[str, str | bytes]] = [
            {**held.leading(number), field.name: held.shown(field, number)} for number in numbers.tolist()
        ]
        columns = {"reconstructed": held.codes[numbers]}
        if len(held.fields) > 1:
            columns["drawn"] = self.codes[:SHOWN]
        for title, codes in columns.items():
            for example, pixels in zip(found, held.codec.decode(codes), strict=True):
                example[f"{field.name}, {title}"] = encode_picture(pixels, ".png")
        return found


def draw(held: Held, options: Eval, bus: Bus) -> Drawn:
    """Draw a picture for each of some held-out records, -n of them, or as many as there are. They are those that the pictures
    are compared with."""
    order = np.random.default_rng(options.seed).permutation(len(held.records))
    numbers = order[: _asked(options)]
    jobs = [Job(at, held.prompt(number)) for at, number in enumerate(numbers.tolist())]
    model = guided(held.loaded, SampleOptions())
    made = model.generate(jobs, options=SamplingOptions(), seed=options.seed, batch_size=options.batch_size)
    places = held.loaded.start.codes[-1]
    codes = []
    for one in made:
        codes.append(codes_in(one.ids, held.loaded.tokenizer, places))
        bus.stage("drawing", len(codes), len(jobs))
    return Drawn(held, numbers, np.array(codes, np.int64).reshape(-1, places))


def _asked(options: Eval) -> int:
    return DRAWN if options.n is None else options.n


def _decoded(codec: Codec, codes: NDArray[np.int64]) -> Iterator[Pixels]:
    return (codec.decode(codes[at : at + AT_ONCE]) for at in range(0, len(codes), AT_ONCE))
