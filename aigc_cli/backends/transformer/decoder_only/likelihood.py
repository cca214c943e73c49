"""The cost of held-out text for a decoder-only model, by prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, Ints, Pieces, block_diagonal, collate, pack
from aigc_cli.backends.transformer.loss import hidden_nats
from aigc_cli.engine.device import to_device
from aigc_cli.engine.processes.sharing import shared


@torch.no_grad()
def token_nats(
    model: Transformer,
    ids: Tensor,
    targets: Tensor,
    *,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The cost of each target (B, T) in nats, for evaluation: float32 (B, T), 0 for targets of -100.

    The arguments are those of `Transformer.forward`.
    """
    return hidden_nats(model(ids, positions=positions, mask=mask), model.head, targets)


def prediction_nats(
    model: Transformer,
    corpus: Corpus,
    pieces: Pieces,
    *,
    batch_size: int,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float64]:
    """The cost in nats of each prediction of the corpus, shape (corpus.predictions,), including the spelling of unknown words;
    0 for predictions that no piece scores."""
    context = model.config.context
    rows = pack(pieces.length, context)
    first, _ = scored_range(corpus, pieces)
    nats = np.zeros(corpus.predictions)
    on_top = np.zeros(corpus.predictions) if corpus.spelling is None else of_predictions(corpus.spelling, corpus)

    def costs(some: list[list[int]]) -> NDArray[np.float64]:
        batch = to_device(collate(corpus, pieces, some, context), device)
        mask = block_diagonal(batch["segments"]) if "segments" in batch else None
        nats = token_nats(model, batch["ids"], batch["targets"], positions=batch.get("positions"), mask=mask)
        return nats.cpu().double().numpy()

    done = 0
    for some, of_some in shared((rows[at : at + batch_size] for at in range(0, len(rows), batch_size)), costs):
        for costs_of_row, row in zip(of_some, some, strict=True):
            ends = np.cumsum(pieces.length[row])
            for piece, end in zip(row, ends, strict=True):
                n_scored = pieces.length[piece] - pieces.context_only[piece]
                scored = slice(first[piece], first[piece] + n_scored)
                nats[scored] = costs_of_row[end - n_scored : end] + on_top[scored]
        done += len(some)
        progress(done, len(rows))
    return nats


def scored_range(corpus: Corpus, pieces: Pieces) -> tuple[Ints, Ints]:
    """The indices in the corpus of the first prediction that each piece scores, and of the one after the last."""
    begin = corpus.offsets[pieces.document] + pieces.document + pieces.begin
    return begin + pieces.context_only, begin + pieces.length


def of_predictions(values: NDArray[np.float64], corpus: Corpus) -> NDArray[np.float64]:
    """Values of tokens (N,) as values of predictions, with 0 for the ends of documents."""
    return np.insert(values, corpus.offsets[1:], 0)


def field_numbers(corpus: Corpus, field_id: int | None, n_fields: int) -> NDArray[np.int64]:
    """The number of the field that each token (N,) is in; the token that ends a field is in it. None: documents have one."""
    ends = corpus.tokens == (-1 if field_id is None else field_id)
    before = np.cumsum(ends) - ends  # ends of fields in the corpus before each token
    document = np.repeat(np.arange(len(corpus.offsets) - 1), np.diff(corpus.offsets))
    numbers: NDArray[np.int64] = before - document * (n_fields - 1)
    return numbers


def scored_places(corpus: Corpus, pieces: Pieces, piece: int) -> tuple[int, int]:
    """The range in the corpus of the tokens predicted by a piece's scored predictions, without the end of the document."""
    start = int(corpus.offsets[pieces.document[piece]] + pieces.begin[piece])
    stop = int(corpus.offsets[pieces.document[piece] + 1])
    return start + int(pieces.context_only[piece]), min(start + int(pieces.length[piece]), stop)


def characters(text: bytes) -> int:
    """The number of characters that start in these UTF-8 bytes."""
    return sum(byte & 0xC0 != 0x80 for byte in text)
