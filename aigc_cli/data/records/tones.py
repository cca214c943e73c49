"""Texts beside the sounds of `demo:tones`, from what is known of each: "a loud plucked A4"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from aigc_cli.data.records.texts import CAPTION, Beside, Record
from aigc_cli.data.sounds.readers import SOUND_FILES
from aigc_cli.data.sounds.tones import FACTORS, LABELS, NAME, NOTES, TIMBRES, Tones
from aigc_cli.data.sources.source import Part

LOUD = -10.5
"""The peak in dB from which on a tone is called loud: half of them are."""

_COLUMNS = (CAPTION, *LABELS)


def is_tones(location: str) -> bool:
    return location.partition("?")[0] == f"demo:{NAME}"


def tones_beside(part: Part) -> Beside:
    """The captions of tones, and as fields of their own the words in them."""
    return Beside(part.location, SOUND_FILES, SOUND_FILES.one, _COLUMNS, _COLUMNS[:1], partial(_read, Tones.of(part.location)))


def _read(tones: Tones, columns: Sequence[str]) -> Iterator[Record]:
    for number, values in enumerate(tones.factors()):
        words = words_of(dict(zip(FACTORS, values.tolist(), strict=True)))
        yield f"row {number}", tuple([words[name] for name in columns])


def words_of(factors: Mapping[str, float]) -> dict[str, str]:
    """The texts of a tone by field."""
    timbre, note = TIMBRES[int(factors["timbre"])], NOTES[int(factors["pitch"])]
    level = "loud" if factors["loudness"] >= LOUD else "soft"
    return {CAPTION: f"a {level} {timbre} {note}", "timbre": timbre, "pitch": note}
