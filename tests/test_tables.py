"""Tables as a terminal shows them."""

from __future__ import annotations

from aigc_cli.backends.gan.meanings import MEANINGS as GAN
from aigc_cli.engine.meanings import Meanings
from aigc_cli.ui.tables import measures_table

MEASURE = {"value": 0.5, "low": 0.4, "high": 0.61234, "n": 90}


def test_a_row_a_measure_with_its_interval_and_what_stands_beside_it() -> None:
    shown = measures_table(
        {"recall": {**MEASURE, "floor": {"value": 0.98765}}, "odd\x1b[31m": {"value": 3, "n": 1}}, GAN, "gan-1 on photos"
    )
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["gan-1", "on", "photos"]
    assert lines[2] == ["recall", "0.5", "0.4", "–", "0.6123", "90", "floor", "0.9877"]
    assert lines[3] == ["odd\\x1b[31m", "3", "1"]
    assert len(lines) == 4


def test_of_a_measure_at_many_lengths_some_are_shown_and_the_last_line_says_so() -> None:
    names = ["bits_per_char", *(f"novelty_{n}" for n in range(1, 13)), *(f"distinct_{n}" for n in (1, 2, 3, 4))]
    lines = measures_table(dict.fromkeys(names, MEASURE), Meanings(), "poems-1").splitlines()
    shown = [line.split()[0] for line in lines[2:-1]]
    assert shown == ["bits_per_char", "novelty_1", "novelty_2", "novelty_4", "novelty_8", *names[-4:]]
    assert lines[-1] == "(8 more lengths in between; --json or a pipe shows all)"
