"""What held-out text costs a model, prediction by prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, Ints, Pieces, block_diagonal, collate, pack
from aigc_cli.backends.transformer.decoding.generate import batches
from aigc_cli.backends.transformer.encoder_decoder.model import EncoderDecoder
from aigc_cli.backends.transformer.encoder_decoder.pairs import Pairs, collate_pairs
from aigc_cli.backends.transformer.loss import hidden_nats, token_nats
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.device import to_device


def prediction_nats(
    model: Transformer,
    corpus: Corpus,
    pieces: Pieces,
    *,
    batch_size: int,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float64]:
    """The cost in nats of each prediction of the corpus, shape (corpus.predictions,), that of an unknown word with its
    spelling; 0 of those that no piece scores."""
    context = model.config.context
    rows = pack(pieces.length, context)
    first, _ = scored_range(corpus, pieces)
    nats = np.zeros(corpus.predictions)
    on_top = np.zeros(corpus.predictions) if corpus.spelling is None else of_predictions(corpus.spelling, corpus)
    for at in range(0, len(rows), batch_size):
        some = rows[at : at + batch_size]
        batch = to_device(collate(corpus, pieces, some, context), device)
        mask = block_diagonal(batch["segments"]) if "segments" in batch else None
        costs = token_nats(model, batch["ids"], batch["targets"], positions=batch.get("positions"), mask=mask)
        for costs_of_row, row in zip(costs.cpu().double().numpy(), some, strict=True):
            ends = np.cumsum(pieces.length[row])
            for piece, end in zip(row, ends, strict=True):
                n_scored = pieces.length[piece] - pieces.context_only[piece]
                scored = slice(first[piece], first[piece] + n_scored)
                nats[scored] = costs_of_row[end - n_scored : end] + on_top[scored]
        progress(min(at + batch_size, len(rows)), len(rows))
    return nats


@torch.no_grad()
def answer_nats(
    model: EncoderDecoder,
    pairs: Pairs,
    index: Ints,
    *,
    batch_size: int,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float64]:
    """The cost in nats of these pairs' targets (n,), with their ends and the spelling of unknown words, given their sources;
    all of them whole."""
    nats = np.zeros(len(index)) if pairs.spelling is None else pairs.spelling[index]
    longer = np.maximum(pairs.target_lengths[index], pairs.source_lengths[index]) + 1
    order = np.argsort(longer, kind="stable")
    for part in batches(longer[order].tolist(), batch_size):
        places = order[part]
        batch = collate_pairs(pairs, index[places], model.config.sos_id, model.config.eos_id)
        batch = to_device(batch, device)
        hidden = model(batch["source"], batch["source_lengths"], batch["target_in"])
        nats[places] += hidden_nats(hidden, model.head, batch["targets"]).cpu().double().sum(dim=1).numpy()
        progress(part.stop, len(order))
    return nats


def characters(text: bytes) -> int:
    """How many characters begin in these bytes of UTF-8."""
    return sum(byte & 0xC0 != 0x80 for byte in text)


def answer_lengths(pairs: Pairs, tokenizer: Tokenizer) -> tuple[Ints, Ints]:
    """The characters and the bytes of each target, (n,)."""
    targets = [pairs.target_text(i, tokenizer) for i in range(len(pairs))]
    return np.array(list(map(len, targets))), np.array([len(text.encode()) for text in targets])


def scored_range(corpus: Corpus, pieces: Pieces) -> tuple[Ints, Ints]:
    """The numbers, in the corpus, of the first prediction that each piece scores and of the one after its last."""
    begin = corpus.offsets[pieces.document] + pieces.document + pieces.begin
    return begin + pieces.context_only, begin + pieces.length


def of_predictions(values: NDArray[np.float64], corpus: Corpus) -> NDArray[np.float64]:
    """What belongs to each token (N,) as what belongs to each prediction, 0 for the ends of documents."""
    return np.insert(values, corpus.offsets[1:], 0)


def scored_places(corpus: Corpus, pieces: Pieces, piece: int) -> tuple[int, int]:
    """From where to where in the corpus the tokens are that a piece's scored predictions predict, but for the end of the
    document."""
    start = int(corpus.offsets[pieces.document[piece]] + pieces.begin[piece])
    stop = int(corpus.offsets[pieces.document[piece] + 1])
    return start + int(pieces.context_only[piece]), min(start + int(pieces.length[piece]), stop)
