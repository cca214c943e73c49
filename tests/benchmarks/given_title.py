"""Does the title help? The cost of held-out texts given their own title, and given another one.

    python tests/benchmarks/given_title.py --poems FOLDER [--minutes 10] [--run RUN]

FOLDER has train.tsv, val.tsv and test.tsv with the columns `title` and `text`. A model is trained with `--fields title,text`. Then
every test text is scored twice: after its own title, and after that of the previous row in a random order. The difference is
paired by text, with an interval over texts.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from pathlib import Path

import numpy as np
from common import aigc
from numpy.typing import NDArray

from aigc_cli.backends.transformer.decoder_only.eval import likelihood_units
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.model import load_pretrained
from aigc_cli.backends.transformer.loaded import Loaded, load
from aigc_cli.data.text.dataset import encode_documents
from aigc_cli.data.text.documents import Reading
from aigc_cli.engine.runs.run import open_run
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums

FIELDS = ("title", "text")


def text_costs(
    loaded: Loaded[CausalLM], rows: list[tuple[str, str]], folder: Path
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The cost of each row's text given its title, in nats, and its length in characters."""
    path = folder / "rows.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [FIELDS, *rows]), encoding="utf-8")
    arrays = encode_documents(str(path), loaded.tokenizer, reading=Reading(FIELDS), progress=lambda *_: None)
    assert arrays.n_docs == len(rows)
    return likelihood_units(loaded, arrays, 32, lambda done, total: None).fields["text"]


def told(name: str, measure: Measure) -> None:
    print(f"{name:24} {measure.value:8.4f}  [{measure.low:.4f}, {measure.high:.4f}]  n = {measure.n:,}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poems", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--run", type=Path, help="measure this run rather than train one")
    arguments = parser.parse_args()

    with (arguments.poems / "test.tsv").open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [(row["title"], row["text"]) for row in table]
    order = np.random.default_rng(0).permutation(len(rows))
    others = [""] * len(rows)
    for at, row in enumerate(order):
        others[row] = rows[order[at - 1]][0]
    with tempfile.TemporaryDirectory() as work:
        run = arguments.run
        if run is None:
            asked = [
                "--data",
                arguments.poems,
                "--fields",
                ",".join(FIELDS),
                "--minutes",
                arguments.minutes,
                "--runs-dir",
                work,
            ]
            made, seconds = aigc("train", "transformer", *asked)
            run = Path(made["run"])
            print(f"{made['steps']:,} steps, {seconds:.1f} s", flush=True)
        loaded = load(open_run(run), load_pretrained, CausalLM, "cpu")
        own, chars = text_costs(loaded, rows, Path(work))
        others_cost, _ = text_costs(loaded, [(title, text) for title, (_, text) in zip(others, rows, strict=True)], Path(work))
    bits = 1 / math.log(2)
    told("with its own title", ratio_of_sums(own * bits, chars, unit="bits/char"))
    told("with another's", ratio_of_sums(others_cost * bits, chars, unit="bits/char"))
    told("the difference", ratio_of_sums((others_cost - own) * bits, chars, unit="bits/char"))
    print(f"its own title is the cheaper one for {np.mean(own < others_cost):.1%} of the texts")


if __name__ == "__main__":
    main()
