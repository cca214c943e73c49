"""Sampling with a constraint: do all samples match, and how much slower is it than free sampling?

    python tests/benchmarks/regex_constraint.py --run RUN [--samples 1000] [--repeats 3]

RUN is a run of Chinese verse (`aigc train transformer --data poems.tsv`). Samples of each pattern, and as many free ones, are drawn
in batches of 64. Drawn tokens are counted, without the ends of texts. The ratio is that of tokens per second in the same repeat,
free sampling first: the median over repeats, with the lowest and the highest. Free samples are cut at the mean length of constrained
ones (`of free`), all of a batch at once; or each at the length of its constrained one (`alike`), so that batches shrink alike.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.model import load_pretrained
from aigc_cli.backends.transformer.decoding import generate
from aigc_cli.backends.transformer.decoding.generate import Generated, Job, SamplingOptions
from aigc_cli.backends.transformer.decoding.regex_constraint import RegexConstraint
from aigc_cli.backends.transformer.loaded import Loaded, load
from aigc_cli.engine.runs.run import open_run

PATTERNS = {
    "couplet of fives": r"[\u4e00-\u9fff]{5}，[\u4e00-\u9fff]{5}。",
    "quatrain of sevens": r"([\u4e00-\u9fff]{7}，[\u4e00-\u9fff]{7}。){2}",
    "acrostic": r"春.{4}，夏.{4}。秋.{4}，冬.{4}。",
    "one of two words": r"[^。]{0,9}(明月|故人)[^。]{0,9}。",
    "code": r"[A-Z]{3}-\d{4}",
}


def drawn(
    loaded: Loaded[CausalLM], n: int, constraint: RegexConstraint | None, max_tokens: int
) -> tuple[list[Generated], float]:
    """Samples, and the seconds they took."""
    began = time.perf_counter()
    jobs = [Job(0, loaded.start.prompt_ids(loaded.tokenizer, None), n)]
    samples = loaded.generate(
        jobs, options=SamplingOptions(max_tokens=max_tokens), seed=0, batch_size=64, constraint=constraint
    )
    return list(samples), time.perf_counter() - began


def drawn_alike(loaded: Loaded[CausalLM], lengths: Sequence[int]) -> tuple[list[Generated], float]:
    """Free samples of these numbers of tokens, and the seconds they took."""

    class Sample(generate._Sample):
        def take(self, token: int, piece: bytes, *, ends_field: bool = False) -> None:
            super().take(token, piece, ends_field=ends_field)
            if len(self.ids) == lengths[self.index]:
                self.finish = "length"

    with mock.patch.object(generate, "_Sample", Sample):
        return drawn(loaded, len(lengths), None, max(lengths))


def speed(made: Sequence[Generated], seconds: float) -> float:
    """Tokens per second."""
    return sum(len(one.ids) for one in made) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    loaded = load(open_run(arguments.run), load_pretrained, CausalLM, "cpu")
    print(
        f"{'pattern':20} {'match':>12} {'tokens':>7} {'removed':>8} {'tokens/s':>9} {'of free':>8}  lowest and highest  {'alike':>5}  lowest and highest"
    )
    for name, pattern in PATTERNS.items():
        constraint = RegexConstraint(pattern, loaded.tokenizer)
        made, _ = drawn(loaded, arguments.samples, constraint, 500)  # the first time is not counted
        matching = sum(bool(re.fullmatch(pattern, one.content.decode())) for one in made)
        tokens = sum(len(one.ids) for one in made)
        speeds, ratios, alike = [], [], []
        for _ in range(arguments.repeats):
            free = speed(*drawn(loaded, arguments.samples, None, max(1, round(tokens / len(made)))))
            like = speed(*drawn_alike(loaded, [len(one.ids) for one in made]))
            speeds.append(speed(*drawn(loaded, arguments.samples, constraint, 500)))
            ratios.append(speeds[-1] / free)
            alike.append(speeds[-1] / like)
        removed = np.mean([one.removed for one in made])
        figures = f"{tokens / len(made):7.1f} {removed:8.3f} {np.median(speeds):9,.0f} {np.median(ratios):8.2f}"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}        {np.median(alike):5.2f}  {min(alike):.2f} to {max(alike):.2f}"
        print(f"{name:20} {matching:5,} of {len(made):,} {figures}  {spread}", flush=True)


if __name__ == "__main__":
    main()
