"""What a kind of data is (text, pictures, …), and which there are.

A kind is a folder beside this module and one line in `BUILT_IN`; or a package of its own, named by an entry point:

    [project.entry-points."aigc.kinds"]
    sounds = "my_package.kind:SOUNDS"

It says how a source of it is recognised, opened and identified, and how a sample of it is written and shown. What becomes of a
source once it is open, and where samples go, is the same for all kinds (`opening`, `commands.destinations`).
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol

from aigc_cli.data.fingerprints import FileRecord, content_fingerprint
from aigc_cli.data.folder_splits import Naming
from aigc_cli.data.sources import OtherFiles, Part, Source, open_source, suffix_of
from aigc_cli.errors import AigcError, RequestError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BUILT_IN = {
    "text": "aigc_cli.data.text.kind:TEXT",
    "pictures": "aigc_cli.data.pictures.kind:PICTURES",
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
    about: Mapping[str, Any]  # what is said of it


class ArrayFile(Protocol):
    """Samples that wait on the disk until their number is known and an .npz can be written."""

    def add(self, content: Any) -> None:
        """The next sample."""

    def save(self, file: BinaryIO, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write them all, and each of `columns`, a value a sample."""


class Kind(ABC):
    """A kind of data. Modules that define one import neither torch nor anything slow.

    A sample's content is whatever the kind's backends draw. Without `formats` it is written as a line of text, otherwise as a
    file.
    """

    name: ClassVar[str]
    """In the plural, as messages have it: "pictures"."""
    suffixes: ClassVar[Collection[str]]
    """Of the files that it is read from, compression apart."""
    naming: ClassVar[Mapping[str, Naming]] = {}
    """What the names of files of a suffix say of their split; by default what a split's name would."""
    demos: ClassVar[Collection[str]] = ()
    """The names of its built-in data sets."""
    unnamed: ClassVar[str | None] = None
    """The suffix of standard input whose first bytes tell nothing; None where that is refused."""
    n_samples: ClassVar[int] = 1
    """How many `sample` draws where nobody says."""
    formats: ClassVar[Mapping[str, str]] = {}
    """What --format calls a format of one sample's file -> its suffix; the first is the default."""
    sheets: ClassVar[Collection[str]] = ()
    """The suffixes of files that show many samples."""
    arrays: ClassVar[bool] = False
    """Whether samples can be written as one array."""

    # A source

    def recognise(self, head: bytes) -> str | None:
        """The suffix that fits a file's first (unpacked) bytes, such as ".json"; None for what they do not tell."""
        return None

    def open(self, src: str) -> Source:
        """Find what `src` names. RequestError where nothing is there, WrongKind where it is of another kind."""
        try:
            return open_source(src, suffixes=self.suffixes, demos=self.demos, naming=self.naming)
        except OtherFiles as error:
            if (other := _kind_of(error.paths, self)) is not None:
                raise WrongKind(str(error), other) from None
            raise

    def demo_fingerprint(self, location: str) -> str:
        """A hash of all that a built-in data set depends on."""
        raise NotImplementedError(location)

    def identity(self, part: Part, records: Sequence[FileRecord]) -> list[Any]:
        """What the content of a part depends on; equal for equal content at another place."""
        if part.kind == "demo":
            return [self.demo_fingerprint(part.location)]
        if part.kind == "hub":
            return [part.location, part.split]
        suffixes = [suffix_of(path, self.suffixes) for path in part.files]
        return [content_fingerprint(records), suffixes, *self.places(part)]

    def places(self, part: Part) -> list[Any]:
        """What a part of files depends on beside their content and suffixes: their names, say."""
        return []

    # A sample

    @abstractmethod
    def show(self, content: Any) -> str | npt.NDArray[np.uint8]:
        """A sample as a person sees it: text, or a picture (height, width, channels). Without `formats` it is text, and is
        what is written."""

    def encode(self, content: Any, suffix: str) -> bytes:
        """The file of one sample; the suffix is one of `formats`."""
        raise NotImplementedError(suffix)

    def check_written(self, content: Any, suffix: str, n: int, columns: int) -> None:  # noqa: B027
        """RequestError where n samples like this one cannot be written to a file of this suffix."""

    def example(self, data: Mapping[str, Any]) -> Any:
        """A content of the form that a run's samples will have, by what run.json records of its data; None where that does not
        tell."""
        return None

    def sheet(self, contents: Sequence[Any], columns: int, suffix: str) -> Sheet:
        """One file of many samples; the suffix is one of `sheets`."""
        raise NotImplementedError(suffix)

    def array(self, folder: Path) -> AbstractContextManager[ArrayFile]:
        """An array to fill, which may wait in this folder; where `arrays` says so."""
        raise NotImplementedError


def _kind_of(paths: Sequence[Path], but: Kind) -> str | None:
    """The other kind that most of the files are of."""
    others = [kind for kind in kinds().values() if kind is not but]
    found = Counter(kind.name for path in paths for kind in others if suffix_of(path, kind.suffixes))
    return found.most_common(1)[0][0] if found else None


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind by name, the built-in ones first."""
    targets = BUILT_IN | {entry.name: entry.value for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}
    return {name: _load(name, target) for name, target in targets.items()}


def _load(name: str, target: str) -> Kind:
    module, _, attribute = target.partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise AigcError(f"the kind of data {name!r} ({target}) cannot be loaded: {error}") from error
    if not isinstance(kind, Kind) or kind.name != name:
        raise AigcError(f"{target} is not a kind of data named {name!r}")
    return kind


def find_kind(name: str) -> Kind:
    """The kind of this name. AigcError where the package that brings it is not installed."""
    if name not in kinds():
        raise AigcError(f"no kind of data {name!r} is installed, only {', '.join(kinds())}; install the package that brings it")
    return kinds()[name]
