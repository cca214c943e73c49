"""Music as text: the events of a piece, such as a bar line, a position, a pitch and a duration, are a character each.

Events are those of REMI (Huang & Yang 2020, arXiv 2002.00212), made and read by `miditok`. Their characters are from Unicode's
private use area, except that a line break begins a bar, so that the lines of a text are its bars. `Notation.tokens` says what
each character means, so that a run can be read whatever ids the installed version of `miditok` gives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aigc_cli.errors import RequestError

if TYPE_CHECKING:
    from miditok import REMI
    from symusic import Score


def check_installed() -> None:
    """Raise RequestError if the packages that read music are not installed."""
    missing = [name for name in ("symusic", "miditok") if find_spec(name) is None]
    if missing:
        raise RequestError(f"music is read by {' and '.join(missing)}: pip install 'aigc-cli[music]'")


BAR = "\n"
TICKS = 480  # of a quarter note, in files that are written

_FIRST, _LAST = 0xE000, 0xF8FF  # the private use area
_PER_BEAT = 12  # positions: sixteenths and triplets
_LONG_PER_BEAT = 4  # durations above four beats
_LOWEST, _HIGHEST = 0, 127
_SAME = 0.99  # the share of notes with the same velocity, or instrument, from which on these say nothing
_TRANSPOSED = range(-5, 7)  # semitones: every key once


@dataclass(frozen=True)
class Notation:
    """Which properties of notes are events, and the character of each event."""

    velocities: bool = True  # how hard a note is struck
    programs: bool = True  # which instrument plays it
    tempos: bool = True
    time_signatures: bool = True
    program: int = 0  # of all notes, without `programs`; -1 for drums
    velocity: int = 80  # of all notes, without `velocities`
    tempo: float = 120.0  # of all pieces, without `tempos`, in quarter notes a minute
    low: int = _LOWEST  # the lowest and the highest pitch of all pieces
    high: int = _HIGHEST
    tokens: tuple[str, ...] = ()  # the events, of the characters from U+E000 on

    @classmethod
    def of(cls, scores: Iterable[Score]) -> Notation:
        """What is needed to write these pieces. Raises RequestError if there is no note."""
        velocities: dict[int, int] = {}
        programs: dict[int, int] = {}
        tempos: set[float] = set()
        signatures: set[tuple[int, int]] = set()
        low, high = _HIGHEST, _LOWEST
        for score in scores:
            tempos |= {round(tempo.qpm) for tempo in score.tempos} or {120}
            signatures |= {(of.numerator, of.denominator) for of in score.time_signatures} or {(4, 4)}
            for track in score.tracks:
                program = -1 if track.is_drum else track.program
                programs[program] = programs.get(program, 0) + len(track.notes)
                of_notes = track.notes.numpy()
                for velocity in of_notes["velocity"].tolist():
                    velocities[velocity] = velocities.get(velocity, 0) + 1
                if not track.is_drum and len(track.notes):
                    low, high = min(low, int(of_notes["pitch"].min())), max(high, int(of_notes["pitch"].max()))
        if not velocities:
            raise RequestError("there are no notes")
        played = {program: count for program, count in programs.items() if count}
        velocity = max(velocities, key=lambda value: velocities[value])
        program = max(played, key=lambda value: played[value])
        decided = cls(
            velocities=velocities[velocity] < _SAME * sum(velocities.values()),
            programs=played[program] < _SAME * sum(played.values()),
            tempos=len(tempos) > 1,
            time_signatures=signatures != {(4, 4)},
            program=program,
            velocity=velocity,
            tempo=float(min(tempos)),
            low=min(low, high),
            high=max(low, high),
        )
        return replace(decided, tokens=tuple(name for name in decided._miditok.vocab if name != "Bar_None"))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Notation:
        return cls(**{**record, "tokens": tuple(record["tokens"])})

    @cached_property
    def _miditok(self) -> REMI:
        from miditok import REMI, TokenizerConfig

        logging.getLogger("miditok").setLevel(logging.ERROR)
        return REMI(
            TokenizerConfig(
                pitch_range=(_LOWEST, _HIGHEST),
                beat_res={(0, 4): _PER_BEAT, (4, 16): _LONG_PER_BEAT},
                special_tokens=["PAD"],
                use_velocities=self.velocities,
                use_programs=self.programs,
                use_tempos=self.tempos,
                use_time_signatures=self.time_signatures,
                num_velocities=16,
                num_tempos=32,
                tempo_range=(40, 250),
                log_tempos=True,
                remove_duplicated_notes=True,
            )
        )

    @cached_property
    def _characters(self) -> dict[str, str]:
        """By event, its character."""
        return {"Bar_None": BAR} | {token: chr(_FIRST + number) for number, token in enumerate(self.tokens)}

    @cached_property
    def _events(self) -> dict[str, str]:
        """By character, its event."""
        return {character: token for token, character in self._characters.items()}

    def events(self, text: str) -> list[str]:
        """The events of a text, without characters that stand for none."""
        return [self._events[character] for character in text if character in self._events]

    def write(self, score: Score) -> str:
        """The text of a piece; empty if it has no notes."""
        if not self.programs:
            score = _as_one_track(score)
        if not any(len(track.notes) for track in score.tracks):
            return ""
        encoded = self._miditok.encode(score, no_preprocess_score=False)
        sequence = encoded[0] if isinstance(encoded, list) else encoded
        return "".join(self._characters[token] for token in sequence.tokens if token in self._characters)

    def read(self, text: str) -> Score:
        """The piece of a text. Whatever is no whole note is left out, so that every text is a piece."""
        from miditok import TokSequence
        from symusic import Score, Tempo

        known = self._miditok.vocab
        tokens = [token for token in self.events(text) if token in known]
        if not tokens:
            return Score(TICKS)
        sequence = TokSequence(tokens=tokens, ids=[known[token] for token in tokens])
        score = self._miditok.decode(sequence if self.programs else [sequence]).resample(TICKS)
        for track in score.tracks:
            if not self.programs:
                track.is_drum, track.program = self.program < 0, max(self.program, 0)
                track.name = ""
            if not self.velocities:
                for note in track.notes:
                    note.velocity = self.velocity
        if not self.tempos:
            score.tempos.clear()
            score.tempos.append(Tempo(0, self.tempo))
        return score

    def transposed(self, text: str) -> Iterator[str]:
        """The text in its own and in all other keys in which its pitches stay among those of all pieces. Drums keep theirs."""
        yield text
        if self.program < 0 and not self.programs:
            return
        pitches = {of: self._pitches[of] for of in set(text) & self._pitches.keys()}
        if not pitches:
            return
        low, high = min(pitches.values()), max(pitches.values())
        for by in _TRANSPOSED:
            if by and self.low <= low + by and high + by <= self.high:
                moved = {ord(of): self._characters[f"Pitch_{pitch + by}"] for of, pitch in pitches.items()}
                yield text.translate(moved)

    @cached_property
    def _pitches(self) -> dict[str, int]:
        """By character, its pitch as a number of a MIDI note; not those of drums."""
        return {
            character: int(token.removeprefix("Pitch_"))
            for token, character in self._characters.items()
            if token.startswith("Pitch_")
        }


def _as_one_track(score: Score) -> Score:
    """All notes of a piece in one track."""
    from symusic import Track

    merged = score.copy()
    track = Track(program=0, is_drum=False)
    for of in score.tracks:
        track.notes.extend(of.notes)
    track.notes.sort(inplace=True)
    merged.tracks.clear()
    merged.tracks.append(track)
    return merged


def joined(scores: Sequence[Score]) -> Score:
    """Pieces one after the other, with a pause of two quarter notes between them."""
    from symusic import Score

    whole = Score(TICKS)
    at = 0
    for score in scores:
        score = score.resample(TICKS)
        end = score.end()
        score.shift_time(at, inplace=True)
        whole.tempos.extend(score.tempos)
        whole.time_signatures.extend(score.time_signatures)
        for track in score.tracks:
            same = next((of for of in whole.tracks if (of.program, of.is_drum) == (track.program, track.is_drum)), None)
            if same is None:
                whole.tracks.append(track)
            else:
                same.notes.extend(track.notes)
        at += end + 2 * TICKS
    return whole


def describe(notation: Notation) -> str:
    """What the events say besides pitches, positions and durations: "tempo, time signature"."""
    said: Sequence[tuple[bool, str]] = (
        (notation.programs, "instrument"),
        (notation.velocities, "velocity"),
        (notation.tempos, "tempo"),
        (notation.time_signatures, "time signature"),
    )
    return ", ".join(name for holds, name in said if holds)
