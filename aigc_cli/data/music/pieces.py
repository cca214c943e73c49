"""The pieces of a source: MIDI files as texts of events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_cli.data.compression import explained, open_bytes
from aigc_cli.data.music.events import BAR, Notation, describe
from aigc_cli.data.sources.source import Part
from aigc_cli.data.understood import EXAMPLES, Group, listed
from aigc_cli.errors import RequestError

if TYPE_CHECKING:
    from symusic import Score

_LARGEST = 16 << 20  # bytes of a file: hours of music
_TOLERATED = 0.1  # the share of files that may be damaged
_KEPT = 100_000_000  # characters of pieces that are kept in memory
_LONGEST = 200_000  # quarter notes in a file: one with a note at the end of time isn't music


class NotMusic(Exception):
    """A file that cannot be read; the message says why."""


@dataclass
class Pieces:
    """Reads a source's files as texts. `known` holds those that were read before, and why others could not be."""

    notation: Notation
    known: dict[Path, str | NotMusic] = field(default_factory=dict)
    kept: int = 0  # characters in `known`

    @classmethod
    def of(cls, part: Part, notation: Notation | None = None) -> Pieces:
        """With the notation of a run, or else the one that these pieces need. Raises RequestError if too many are damaged."""
        pieces = cls(notation or Notation())
        if notation is None:
            scores = (score for path in part.files if (score := pieces._score(path)) is not None)
            try:
                pieces.notation = Notation.of(scores)
            except RequestError as error:
                raise RequestError(f"{part.location}: {error}{_why(pieces.damaged(part))}") from None
        damaged = pieces.damaged(part)
        if len(damaged) > _TOLERATED * len(part.files):
            raise RequestError(f"more than a tenth of the files in {part.location} cannot be read{_why(damaged)}; remove them")
        return pieces

    def key(self) -> list[Any]:
        """What the texts depend on besides the files."""
        return ["music", self.notation.to_json()]

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return {"notation": self.notation.to_json()}

    def documents(self, part: Part) -> Iterator[str]:
        """A text for each file, in order; empty for one that cannot be read."""
        for path in part.files:
            found = self.known.get(path)
            if found is None:
                score = self._score(path)
                found = "" if score is None else self.notation.write(score)
                if score is not None and self.kept < _KEPT:
                    self.known[path], self.kept = found, self.kept + len(found)
            yield found if isinstance(found, str) else ""

    def variants(self, text: str) -> Iterator[str]:
        """A training piece in all keys in which it stays within the range of all pieces."""
        return self.notation.transposed(text)

    def told(self, texts: int, variants: int) -> str:
        return f"{texts:,} training pieces, in every key within the range of all: {variants:,}"

    def damaged(self, part: Part) -> dict[str, str]:
        """The files of a part that could not be read, and why."""
        return {path.name: str(found) for path in part.files if isinstance(found := self.known.get(path), NotMusic)}

    def skipped(self, part: Part) -> tuple[Group, ...]:
        damaged = self.damaged(part)
        return (Group("files that cannot be read", len(damaged), tuple(damaged)[:EXAMPLES]),) if damaged else ()

    def place(self, part: Part, number: int) -> str:
        """The name of a document by its number."""
        return part.files[number].name

    def about(self, text: str) -> str:
        score = self.notation.read(text)
        return f"{text.count(BAR):,} bars, {score.note_num():,} notes"

    def notes(self, part: Part) -> list[str]:
        """For the user."""
        said = describe(self.notation)
        notes = [f"an event is a token: bar, position, pitch, duration{f', {said}' if said else ''}"]
        if damaged := self.damaged(part):
            notes.append(f"skipped {len(damaged):,} file{'s' * (len(damaged) != 1)} that cannot be read{_why(damaged)}")
        return notes

    def _score(self, path: Path) -> Score | None:
        try:
            return read_score(path)
        except RequestError as error:
            self.known[path] = NotMusic(str(error).removeprefix(f"{path}: "))
            return None


def _why(damaged: dict[str, str]) -> str:
    return f": {listed(f'{name} ({why})' for name, why in damaged.items())}" if damaged else ""


def _meant(reason: str) -> str:
    """What is wrong with a file, by what the library says of it."""
    if "EOF" in reason or "chunk length" in reason:
        return "it is truncated or damaged"
    return "its times are not in beats" if "ticks per quarter" in reason else "it is damaged"


def read_score(path: Path) -> Score:
    """The piece in a MIDI file. Raises RequestError if it is damaged."""
    from symusic import Score

    with explained(path), open_bytes(path) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise RequestError(f"{path}: larger than {_LARGEST >> 20} MB")
    if content[:4] == b"RIFF" and content[8:12] == b"RMID":
        content = content[20:]
    if not content.startswith(b"MThd"):
        raise RequestError(f"{path}: no MIDI file")
    try:
        score = Score.from_midi(content, sanitize_data=True)
    except Exception as error:  # the library raises what it likes
        raise RequestError(f"{path}: {_meant(str(error))}") from None
    if score.tpq <= 0 or score.end() > _LONGEST * score.tpq:
        raise RequestError(f"{path}: its notes are spread over more than {_LONGEST:,} quarter notes")
    return score
