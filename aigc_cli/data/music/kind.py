"""Music as a kind of data: MIDI files, read as texts of events."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from aigc_cli.data.kinds import ReadAsTexts, Sheet
from aigc_cli.data.sources.folder_splits import Naming
from aigc_cli.data.sources.source import Part
from aigc_cli.errors import AigcError, RequestError, understood
from aigc_cli.files import user_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aigc_cli.data.music.events import Notation
    from aigc_cli.data.music.pieces import Pieces

SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
_SOUNDFONTS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
"""Where systems keep the instruments of FluidSynth."""


class Music(ReadAsTexts):
    """A source is read as pieces, each the text of its events (`events`); a sample is such a text, written as a file."""

    name = "music"
    suffixes = SUFFIXES
    naming: ClassVar[Mapping[str, Naming]] = dict.fromkeys(SUFFIXES, "never")
    n_samples = 1
    formats = MappingProxyType({"mid": ".mid", "wav": ".wav"})
    sheets = (".mid", ".wav")
    likelihood = ("nats_per_event", 1.0)
    longest = 2048

    def __init__(self, notation: Notation | None = None) -> None:
        self._notation = notation

    def recognise(self, head: bytes) -> str | None:
        return ".mid" if head.startswith(b"MThd") else None

    def of_run(self, data: Mapping[str, Any]) -> Music:
        if "notation" not in data:
            return self
        from aigc_cli.data.music.events import Notation, check_installed

        check_installed()
        with understood("the notation of the music in run.json"):
            return Music(Notation.from_json(data["notation"]))

    def transcriber(self, part: Part) -> Pieces:
        from aigc_cli.data.music.events import check_installed
        from aigc_cli.data.music.pieces import Pieces

        check_installed()
        return Pieces.of(part, self._notation)

    @property
    def notation(self) -> Notation:
        if self._notation is None:
            raise AigcError("this run does not say how its music is written as events")
        return self._notation

    def read_prompt(self, text: str) -> str:
        """The events of the file that a prompt names."""
        from aigc_cli.data.music.pieces import read_score

        path = user_path(text)
        if not path.is_file():
            raise RequestError(f"--prompt {text}: this run goes on from a MIDI file, and there is none of this name")
        return self.notation.write(read_score(path))

    def beats(self, text: str) -> float:
        """Quarter notes up to the end of the last note."""
        score = self.notation.read(text)
        return float(score.end() / score.tpq)

    def is_whole(self, text: str) -> bool:
        """Whether the piece has notes, and its file the same ones, each with an end."""
        from symusic import Score

        score = self.notation.read(text)
        again = Score.from_midi(score.dumps_midi())
        return bool(score.note_num() > 0 and again.note_num() == score.note_num())

    def preview(self, texts: Sequence[str]) -> tuple[str, bytes, str]:
        """Piano rolls, one below the other."""
        from aigc_cli.data.music.roll import as_png, piano_roll

        return ".png", as_png([piano_roll(self.notation.read(text)) for text in texts]), ""

    def show(self, content: str) -> npt.NDArray[np.uint8]:
        """A piano roll."""
        from aigc_cli.data.music.roll import piano_roll

        return piano_roll(self.notation.read(content))

    def describe(self, content: str) -> Mapping[str, Any]:
        score = self.notation.read(content)
        return {"bars": content.count("\n"), "notes": score.note_num(), "seconds": round(score.to("second").end(), 2)}

    def encode(self, content: str, suffix: str) -> bytes:
        score = self.notation.read(content)
        midi: bytes = score.dumps_midi()
        return midi if suffix == ".mid" else rendered(midi)

    def sheet(self, contents: Sequence[str], columns: int, suffix: str) -> Sheet:
        """The pieces, one after the other."""
        from aigc_cli.data.music.events import joined

        score = joined([self.notation.read(content) for content in contents])
        midi: bytes = score.dumps_midi()
        of_one = self.describe(contents[0]) if len(contents) == 1 else {}
        return Sheet(midi if suffix == ".mid" else rendered(midi), {**of_one, "pieces": len(contents)})

    def check_written(self, content: Any, suffix: str, n: int, columns: int) -> None:
        if suffix == ".wav":
            soundfont()

    def example(self, data: Mapping[str, Any]) -> str:
        return ""


def soundfont() -> Path:
    """The instruments that FluidSynth plays. Raises RequestError if it isn't installed, or has none."""
    if shutil.which("fluidsynth") is None:
        raise RequestError("--format wav: FluidSynth renders music, and it is not installed; write .mid, or install fluidsynth")
    found = sorted(path for folder in _SOUNDFONTS for path in Path(folder).glob("*.sf[23]"))
    if not found:
        raise RequestError(
            f"--format wav: FluidSynth has no instruments (.sf2) in {_SOUNDFONTS[0]}; install fluid-soundfont-gm"
        )
    return next((path for path in found if path.name.startswith("default")), found[0])


def rendered(midi: bytes) -> bytes:
    """A .wav of a piece, played by FluidSynth at 44.1 kHz."""
    instruments = soundfont()
    with tempfile.TemporaryDirectory() as folder:
        piece, sound = Path(folder, "piece.mid"), Path(folder, "piece.wav")
        piece.write_bytes(midi)
        command = ["fluidsynth", "-n", "-i", "-q", "-r", "44100", "-F", str(sound), str(instruments), str(piece)]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode or not sound.exists():
            raise AigcError(f"FluidSynth could not play a piece: {done.stderr.decode(errors='replace').strip()[-200:]}")
        return sound.read_bytes()


MUSIC = Music()
