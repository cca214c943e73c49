"""What a kind of data (text, pictures, …) is, and the list of kinds.

A kind is a folder next to this module and a line in `BUILT_IN`, or a package of its own with an entry point:

    [project.entry-points."aigc.kinds"]
    sounds = "my_package.kind:SOUNDS"

It says how a source is recognised, opened and identified, and how a sample is written and shown. What happens to an opened
source, and where samples go, is the same for all kinds (`opening`, `commands.destinations`).
"""

from __future__ import annotations

import importlib
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol

from aigc_cli.data.sources.fingerprints import FileRecord, content_fingerprint
from aigc_cli.data.sources.folder_splits import Naming
from aigc_cli.data.sources.source import OtherFiles, Part, Source, open_source, suffix_of
from aigc_cli.data.understood import Group
from aigc_cli.errors import AigcError, RequestError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BUILT_IN = {
    "text": "aigc_cli.data.text.kind:TEXT",
    "pictures": "aigc_cli.data.pictures.kind:PICTURES",
    "sounds": "aigc_cli.data.sounds.kind:SOUNDS",
    "music": "aigc_cli.data.music.kind:MUSIC",
}
GROUP = "aigc.kinds"


class WrongKind(RequestError):
    """The source holds data of another kind."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(f"{message}; it holds {kind}")
        self.kind = kind


@dataclass(frozen=True)
class Sheet:
    """Many samples in one file."""

    content: bytes
    about: Mapping[str, Any]  # its record for `--json`


class ArrayFile(Protocol):
    """Samples spooled to disk until their number is known and an .npz can be written."""

    def add(self, content: Any) -> None:
        """Add the next sample."""

    def save(self, file: BinaryIO, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write all samples, and `columns` with one value per sample."""


class Transcriber(Protocol):
    """Reads the files of another kind of data, such as music, as texts."""

    def key(self) -> list[Any]:
        """What the texts depend on besides the files, JSON-serialisable."""

    def record(self) -> Mapping[str, Any]:
        """What run.json records of it, for `Kind.of_run`."""

    def documents(self, part: Part) -> Iterator[str]:
        """A text for each example of a part, in order; empty for one that cannot be read."""

    def variants(self, text: str) -> Iterator[str]:
        """What to train on for a training text: itself first, then what is as good, such as the same in other keys."""

    def told(self, texts: int, variants: int) -> str:
        """What a person should know of how many training texts became how many."""

    def place(self, part: Part, number: int) -> str:
        """Where a text is in the part, by its number."""

    def about(self, text: str) -> str:
        """How long a text is, for a person."""

    def notes(self, part: Part) -> list[str]:
        """What a person should know of how a part is read."""

    def skipped(self, part: Part) -> tuple[Group, ...]:
        """What could not be read."""


class Kind(ABC):
    """A kind of data. Modules that define one must be fast to import, so without torch.

    A sample's content is whatever the kind's backends return. With `formats` it is written as a file, otherwise as a line of
    text.
    """

    name: ClassVar[str]
    """The name in the plural, as in messages: "pictures"."""
    one: ClassVar[str] = "example"
    """What to call an example: "picture"."""
    suffixes: ClassVar[Collection[str]]
    """Suffixes of files it is read from, without compression."""
    naming: ClassVar[Mapping[str, Naming]] = {}
    """By suffix, how file names determine a split; by default, if the whole name is that of a split."""
    beside: ClassVar[re.Pattern[str] | None] = None
    """Lower-case names of files that describe the data. They are read only if there is no other file."""
    described_by: ClassVar[re.Pattern[str] | None] = None
    """Lower-case names of tables that describe the files beside them, for `Part.tables`."""
    remedies: ClassVar[Mapping[str, str]] = {}
    """By suffix, how to convert files that are not read."""
    demos: ClassVar[Collection[str]] = ()
    """Names of its built-in datasets."""
    unnamed: ClassVar[str | None] = None
    """The suffix to assume for standard input that isn't recognised; None to refuse it."""
    piped: ClassVar[Collection[str]] = ()
    """Further suffixes that standard input may have, of what `convert` converts."""
    n_samples: ClassVar[int] = 1
    """The default number of samples."""
    rows: ClassVar[int] = 40
    """How many rows of variations one takes in: of the hundreds of latents of a map, most affect only one position."""
    formats: ClassVar[Mapping[str, str]] = {}
    """Formats of a sample's file: value of --format -> suffix. The first is the default."""
    sheets: ClassVar[Collection[str]] = ()
    """Suffixes of files that show many samples."""
    arrays: ClassVar[bool] = False
    """Whether samples can be written as one array."""
    likelihood: ClassVar[tuple[str, float]] = ("bits_per_char", math.log(2))
    """What learns from texts calls the cost of a character, and how many nats its unit is."""
    longest: ClassVar[int | None] = None
    """The characters that a sample of what learns from texts has at most by default; None for a few contexts of the model."""
    in_records: ClassVar[bool] = False
    """Whether it can be a field of a record, as codes."""
    as_pictures: ClassVar[str | None] = None
    """The module that reads its data as pictures (`pictures.preparing.AsPictures`), for backends that learn from those."""

    # A source

    def recognise(self, head: bytes) -> str | None:
        """The suffix, such as ".json", for a file that starts with these (uncompressed) bytes; None if unknown."""
        return None

    def holds(self, src: str, input_format: str | None = None) -> bool:
        """Whether a source with suffixes that several kinds have, such as an archive or a table, holds data of this kind. It is
        asked where another kind would be assumed."""
        return False

    def convert(self, copy: Path) -> Path:
        """A copy of standard input as a file that is read. If that is another file, the copy is removed."""
        return copy

    def open(self, src: str) -> Source:
        """Find the source `src`. Raises `RequestError` if there is none, and `WrongKind` if it holds another kind."""
        try:
            return open_source(
                src,
                suffixes=self.suffixes,
                demos=self.demos,
                naming=self.naming,
                beside=self.beside,
                described_by=self.described_by,
                remedies=self.remedies,
            )
        except OtherFiles as error:
            if (other := kind_of(error.paths, self)) is not None:
                raise WrongKind(str(error), other) from None
            raise OtherFiles(f"{error}{self._types_of_others()}", error.paths) from None

    def _types_of_others(self) -> str:
        """The types of files of other kinds that are learned by the same models, for a message."""
        others = [kind for kind in kinds().values() if kind is not self and bool(kind.as_pictures) == bool(self.as_pictures)]
        types = {kind.name: sorted({*kind.suffixes} - {*self.suffixes}) for kind in others}
        return "".join(f"; types of {name}: {' '.join(of)}" for name, of in types.items() if of)

    def demo_fingerprint(self, location: str) -> str:
        """A hash of everything a built-in dataset depends on."""
        raise NotImplementedError(location)

    def identity(self, part: Part, records: Sequence[FileRecord]) -> list[Any]:
        """What the content of a part depends on; equal for equal content at another location."""
        if part.kind == "demo":
            return [self.demo_fingerprint(part.location), *([part.split] if part.split else [])]
        if part.kind == "hub":
            return [part.location, part.split]
        suffixes = [suffix_of(path, self.suffixes) for path in part.files]
        return [content_fingerprint(records), suffixes, *self.places(part)]

    def places(self, part: Part) -> list[Any]:
        """What a part depends on besides the content and suffixes of its files, such as their names."""
        return []

    # What learns from texts

    def preview(self, texts: Sequence[str]) -> tuple[str, bytes, str]:
        """A file that shows samples while a model is trained: its suffix, its content, and its text if it is text."""
        return ".txt", ("\n\n".join(texts) + "\n").encode(), texts[0]

    # A sample

    def of_run(self, data: Mapping[str, Any]) -> Kind:
        """The same, for the samples of a run with this record of its data."""
        return self

    def describe(self, content: Any) -> Mapping[str, Any]:
        """What is worth knowing of a sample that is written as a file, for its record."""
        return {}

    @abstractmethod
    def show(self, content: Any) -> str | npt.NDArray[np.uint8]:
        """A sample for display: text, or a picture (height, width, channels). Without `formats` it must be text, which is also
        what is written."""

    def encode(self, content: Any, suffix: str) -> bytes:
        """The content of a file with one sample; the suffix is one of `formats`."""
        raise NotImplementedError(suffix)

    def player(self, content: Any) -> tuple[str, bytes] | None:
        """A sample to listen to on a page: the media type, and the content of a file that browsers play; None if it makes no
        sound."""
        return None

    def check_written(self, content: Any, suffix: str, n: int, columns: int) -> None:  # noqa: B027
        """Raise `RequestError` if n samples like this one can't be written to a file with this suffix."""

    def example(self, data: Mapping[str, Any]) -> Any:
        """Content of the form that a run's samples will have, from run.json's record of its data; None if unknown."""
        return None

    def sheet(self, contents: Sequence[Any], columns: int, suffix: str) -> Sheet:
        """A file with many samples; the suffix is one of `sheets`."""
        raise NotImplementedError(suffix)

    def array(self, folder: Path) -> AbstractContextManager[ArrayFile]:
        """An array to fill, if `arrays` is set. It may spool to this folder."""
        raise NotImplementedError


class ReadAsTexts(Kind):
    """A kind whose files are no texts, but are read as such by what learns from texts; a sample's content is such a text."""

    @abstractmethod
    def transcriber(self, part: Part) -> Transcriber:
        """How the files of a part are read."""

    @abstractmethod
    def read_prompt(self, text: str) -> str:
        """The beginning of a sample that a person asks for with `text`."""

    @abstractmethod
    def beats(self, text: str) -> float:
        """The length of an example that is read as this text, in beats."""

    @abstractmethod
    def is_whole(self, text: str) -> bool:
        """Whether the file of a sample can be read again as it was written."""


def transcriber_of(kind: Kind, part: Part) -> Transcriber | None:
    """How the files of a part are read as texts; None if they are texts."""
    return kind.transcriber(part) if isinstance(kind, ReadAsTexts) else None


def kind_of(paths: Sequence[PurePath], but: Kind) -> str | None:
    """The other kind that most of these files belong to."""
    others = [kind for kind in kinds().values() if kind is not but]
    found = Counter(kind.name for path in paths for kind in others if suffix_of(path, kind.suffixes))
    return found.most_common(1)[0][0] if found else None


@cache
def kinds() -> Mapping[str, Kind]:
    """All kinds by name, built-in ones first."""
    targets = BUILT_IN | {entry.name: entry.value for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}
    return {name: _load(name, target) for name, target in targets.items()}


def _load(name: str, target: str) -> Kind:
    module, _, attribute = target.partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise AigcError(f"cannot load the kind of data {name!r} ({target}): {error}") from error
    if not isinstance(kind, Kind) or kind.name != name:
        raise AigcError(f"{target} is not a kind of data named {name!r}")
    return kind


def find_kind(name: str) -> Kind:
    """The kind with this name. Raises `AigcError` if it is not installed."""
    if name not in kinds():
        raise AigcError(
            f"no kind of data {name!r} is installed, only {', '.join(kinds())}; install the package that provides it"
        )
    return kinds()[name]
