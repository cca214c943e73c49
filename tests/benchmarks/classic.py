"""The classic text-generation project: second halves of poems, by an encoder–decoder of words and by a decoder-only model.

    python tests/benchmarks/classic.py --poems FOLDER [--minutes 10] [--tokenizer spacy:blank:zh] [--runs-dir FOLDER]

FOLDER has train.tsv, val.tsv and test.tsv with a `text` column. The first model is that of examples/classic.sh: spaCy's words,
lower-cased, with words seen fewer than five times as <unk>; it reads the first half of a poem's characters. The second is
`aigc train transformer` with default settings, which continues the first half. Both are scored on the characters of the second
halves of the test poems and their ends, given the first halves, including the spelling of unknown words.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path

import numpy as np
from common import aigc

from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.likelihood import characters, prediction_nats
from aigc_cli.backends.transformer.decoder_only.model import load_pretrained
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, evaluation_pieces
from aigc_cli.backends.transformer.loaded import load
from aigc_cli.data.text.dataset import encode_documents
from aigc_cli.engine.runs.run import open_run
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums


def second_halves(run: Path, poems: Path) -> Measure:
    """The bits per character of a decoder-only model."""
    loaded = load(open_run(run), load_pretrained, CausalLM, "cpu")
    arrays = encode_documents(str(poems), loaded.tokenizer, split="test", progress=lambda *_: None)
    corpus = Corpus.of(arrays, loaded.tokenizer, measured=True)
    pieces = evaluation_pieces(corpus, loaded.model.network.config.context)
    costs = prediction_nats(loaded.model.network, corpus, pieces, batch_size=32, device=loaded.device)
    chars_of = np.array([characters(loaded.tokenizer.decode_bytes([token])) for token in range(loaded.tokenizer.vocab_size)])
    nats, chars = np.zeros(arrays.n_docs), np.zeros(arrays.n_docs, np.int64)
    for i, first in enumerate(corpus.first_predictions.tolist()):
        tokens = arrays.tokens[arrays.offsets[i] : arrays.offsets[i + 1]]
        half = int(0.5 * arrays.chars[i])
        before = np.cumsum(chars_of[tokens]) - chars_of[tokens]  # characters before each token
        skipped = int((before < half).sum())
        nats[i] = costs[first + skipped : first + len(tokens) + 1].sum()
        chars[i] = arrays.chars[i] - half
    return ratio_of_sums(nats / math.log(2), chars)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poems", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tokenizer", default="spacy:blank:zh")
    parser.add_argument("--runs-dir", help="keep the runs here")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as work:
        common = ["--data", arguments.poems, "--minutes", arguments.minutes, "--runs-dir", arguments.runs_dir or work]
        words = ["--tokenizer", arguments.tokenizer, "--lower", "--min-freq", 5, "--unk"]
        made, seconds = aigc("train", "transformer", *common, "--arch", "encoder-decoder", "--source-ratio", 0.5, *words)
        figures, _ = aigc("eval", "transformer", "--run", made["run"], "--data", arguments.poems, "-n", 200)
        print(f"encoder-decoder of words: {made['steps']:,} steps, {seconds:.0f} s, {made['run']}")
        for name, figure in figures.items():
            if isinstance(figure, dict):
                print(f"    {name} {json.dumps(figure, ensure_ascii=False)}", flush=True)
        made, seconds = aigc("train", "transformer", *common)
        bits = second_halves(Path(made["run"]), arguments.poems)
        print(f"decoder-only: {made['steps']:,} steps, {seconds:.0f} s, {made['run']}")
        print(
            f"    bits_per_char of second halves {bits.value:.4f} [{bits.low:.4f}, {bits.high:.4f}], n = {bits.n:,}", flush=True
        )


if __name__ == "__main__":
    main()
