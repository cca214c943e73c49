"""The cost of held-out answers for an encoder–decoder, given their sources."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from aigc_cli.backends.transformer.decoding.generate import batches
from aigc_cli.backends.transformer.encoder_decoder.model import EncoderDecoder
from aigc_cli.backends.transformer.encoder_decoder.pairs import Ints, Pairs, collate_pairs
from aigc_cli.backends.transformer.loss import hidden_nats
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.device import to_device
from aigc_cli.engine.processes.sharing import shared


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
    """The cost in nats of these pairs' complete targets (n,) given their sources, including their ends and the spelling of
    unknown words."""
    nats = np.zeros(len(index)) if pairs.spelling is None else pairs.spelling[index]
    longer = np.maximum(*pairs.lengths(index)) + 1
    order = np.argsort(longer, kind="stable")

    def costs(part: slice) -> NDArray[np.float64]:
        batch = collate_pairs(pairs, index[order[part]], model.config.sos_id, model.config.eos_id)
        batch = to_device(batch, device)
        hidden = model(batch["source"], batch["source_lengths"], batch["target_in"])
        return hidden_nats(hidden, model.head, batch["targets"]).cpu().double().sum(dim=1).numpy()

    for part, of_part in shared(batches(longer[order].tolist(), batch_size), costs):
        nats[order[part]] += of_part
        progress(part.stop, len(order))
    return nats


def answer_lengths(pairs: Pairs, tokenizer: Tokenizer) -> tuple[Ints, Ints]:
    """The lengths of the targets in characters and in bytes, (n,) each."""
    targets = [pairs.target_text(i, tokenizer) for i in range(len(pairs))]
    return np.array(list(map(len, targets))), np.array([len(text.encode()) for text in targets])
