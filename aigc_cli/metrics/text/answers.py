"""How close answers are to references: chrF, BLEU and exact matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.proportion import proportion

RESAMPLES = 1000


def answer_measures(answers: Sequence[str], references: Sequence[str], *, tokenize: str) -> dict[str, Measure]:
    """`chrf`, `bleu` and `exact_match` of answers (n,) against one reference each.

    - `chrf`: the F₂ score of character n-grams up to 6 (Popović 2015), from 0 to 100;
    - `bleu`: the precision of word n-grams up to 4, with the brevity penalty (Papineni et al. 2002), 0 to 100, with words
      split by sacrebleu's `tokenize` ("13a", "zh");
    - `exact_match`: the share of answers that are the reference.

    Both scores are sacrebleu's (Post 2018), with its signature in `extra`; their interval is as wide as that of its
    bootstrap over answers. (BLEU scores answers of fewer than four words as 0, however right they are.)
    """
    from sacrebleu.metrics.bleu import BLEU  # takes 0.3 s to import
    from sacrebleu.metrics.chrf import CHRF

    class _CHRF(CHRF):
        """sacrebleu 2.6 mixes 0.0 with numpy's float32, and its bootstrap can't average the two."""

        def _compute_f_score(self, statistics: list[int]) -> float:
            return float(super()._compute_f_score(statistics))

    exact = [answer == reference for answer, reference in zip(answers, references, strict=True)]
    return {
        "chrf": _scored(_CHRF(), answers, references),
        "bleu": _scored(BLEU(tokenize=tokenize, force=True), answers, references).beside(tokenize=tokenize),
        "exact_match": proportion(exact),
    }


def _scored(metric: Any, answers: Sequence[str], references: Sequence[str]) -> Measure:
    resamples = RESAMPLES if len(answers) > 1 else 1
    score = metric.corpus_score(list(answers), [list(references)], n_bootstrap=resamples)
    signature = str(metric.get_signature())
    value = min(100.0, float(score.score))
    low = high = None
    if resamples > 1:  # sacrebleu gives half the width of the percentile interval
        low, high = max(0.0, value - float(score._ci)), min(100.0, value + float(score._ci))
    return Measure(value, low, high, len(answers)).beside(signature=signature)


def beside_baselines(
    measure: Callable[[Sequence[str]], dict[str, Measure]], answers: Sequence[str], **baselines: Sequence[str]
) -> dict[str, Measure]:
    """The measures of answers, each with the same measure of every baseline's answers in `extra`."""
    others = {name: measure(texts) for name, texts in baselines.items()}
    return {
        key: value.beside(**{name: measures[key] for name, measures in others.items()})
        for key, value in measure(answers).items()
    }
