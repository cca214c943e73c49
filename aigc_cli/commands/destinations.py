"""Where samples go, whatever kind of data they are: lines of text, a folder of files, one sheet, an array, or a tar. Nothing is
overwritten unasked, and whether it would be is looked at before anything is computed."""

from __future__ import annotations

import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from aigc_cli.backends.base import Backend, Sample
from aigc_cli.commands.lines import Draw, write_lines
from aigc_cli.commands.output import announced, is_stream, print_path
from aigc_cli.data.kinds import Kind, find_kind
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.files import check_file, json_text, written_aside
from aigc_cli.ui.progress import progress
from aigc_cli.ui.terminal import colours, shows_pictures

Line: TypeAlias = Mapping[str, Any]
"""What is said of something written: its `path` and what is known of it."""
Writer: TypeAlias = Callable[[Iterable[Sample]], Iterator[Line]]
"""Writes samples as they come; a line for each file that is done."""
Passing: TypeAlias = Callable[[Iterable[Sample]], Iterable[Sample]]
"""Hands samples on, unchanged."""


def kind_of(run: Run, backend: Backend) -> Kind:
    """The kind of a run's samples: that of the data it learned from. Runs of older versions do not record it."""
    name = run.record.get("data", {}).get("kind") or next(iter(backend.kinds), None)
    if name is None:
        raise AigcError(
            f"run {run.path} does not say what kind of data its samples are, and the {backend.name} backend names none"
        )
    return find_kind(name).of_run(run.record.get("data", {}))


def write_samples(run: Run, kind: Kind, options: Any, expected: int | None, draw: Draw) -> None:
    """Draw samples and write them where `options` (an `OutputOptions`) ask for; `expected` is their number, if it is known.
    RequestError, before anything is drawn, when they can't be written or something is there already."""
    if not kind.formats and getattr(options, "format", None) is not None:
        raise RequestError(f"--format {options.format}: the samples of run {run.path} are {kind.name}, written a line each")
    if kind.formats and getattr(options, "stream", False):
        raise RequestError(f"--stream: the samples of run {run.path} are {kind.name}, which are not printed")
    with _previewed(kind, options) as passing, progress(json_lines=options.json, quiet=options.quiet) as bus:
        if not kind.formats:
            write_lines(kind, options, draw, bus)
            return
        example = kind.example(run.record.get("data", {}))
        folder = Path("samples", f"{run.backend}-{run.name}")
        write = _Files(kind, options, expected, example).writer(folder)
        print_lines(announced(write(passing(draw(bus, None))), bus, sys.stdout), as_json=options.json)


def print_lines(lines: Iterable[Line], *, as_json: bool) -> None:
    """Each as soon as its file is there: the path, or the whole line as JSON."""
    for line in lines:
        if as_json:
            sys.stdout.buffer.write(json_text(line).encode() + b"\n")
            sys.stdout.buffer.flush()
        else:
            print_path(line["path"])


@contextmanager
def _previewed(kind: Kind, options: Any) -> Iterator[Passing]:
    """Looks at the samples that come by and, where they are seen as pictures, shows the first of them on standard error when
    the block ends well, where a person reads both streams on a terminal."""
    seen = sys.stdout.isatty() and shows_pictures(sys.stderr, os.environ)
    if not kind.formats or options.quiet or options.json or not seen:
        yield lambda samples: samples
        return
    from aigc_cli.ui.preview import FirstPictures

    first = FirstPictures(sys.stderr, colours(os.environ))

    def passing(samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            shown = kind.show(sample.content)
            if not isinstance(shown, str):
                first.add(shown)
            yield sample

    yield passing
    with suppress(OSError):  # the samples are written; nobody is left to look
        first.show()


@dataclass(frozen=True)
class _Files:
    """Writes samples of a kind as files."""

    kind: Kind
    options: Any  # OutputOptions
    expected: int | None
    example: Any  # a content like those that will come, or None

    @cached_property
    def format(self) -> str | None:
        """What --format asks for."""
        format: str | None = getattr(self.options, "format", None)
        if format is not None and format not in self.kind.formats:
            raise RequestError(f"--format {format}: {self.kind.name} are written as {', '.join(self.kind.formats)}")
        return format

    @cached_property
    def suffix(self) -> str:
        """Of a file of one sample."""
        return self.kind.formats[self.format or next(iter(self.kind.formats))]

    def writer(self, folder: Path) -> Writer:
        """What `--out` asks for; `folder` is the place when it asks for nothing."""
        out, options = self.options.out, self.options
        if out == "-":
            self._check(self.suffix)
            self._check_standard_output()
            return self._to_standard_output
        path = folder if out is None else Path(out)
        if is_stream(path):
            self._check(self.suffix)
            return partial(self._to_tar_file, path)
        ending = path.suffix.lower()
        if out is None or path.is_dir() or out.endswith(os.sep) or not ending:
            self._check(self.suffix)
            self._check_folder(path)
            return partial(self._to_folder, path)
        if ending in self.kind.sheets:
            if self.format and self.suffix != ending.replace(".jpeg", ".jpg"):
                raise RequestError(f"--out {out} is no {self.format} by its suffix; leave out --format")
            check_file(path, force=options.force)
            if self.example is not None:
                self._check(ending, self.example, self.expected or 1)
            return partial(self._to_sheet, path, ending)
        if ending == ".npz" and self.kind.arrays:
            if self.format:
                raise RequestError(f"--out {out} is an array, not {self.format} {self.kind.name}; leave out --format")
            check_file(path, force=options.force)
            return partial(self._to_array, path)
        if ending != ".tar":
            raise RequestError(f"--out {out}: {ending} is not written here; {self._places()}")
        check_file(path, force=options.force)
        self._check(self.suffix)
        return partial(self._to_tar_file, path)

    def _places(self) -> str:
        sheets = f"a sheet ({' '.join(self.kind.sheets)})" if self.kind.sheets else ""
        places = [f"a folder (end it with {os.sep})", sheets, "an array (.npz)" if self.kind.arrays else ""]
        return f"name {', '.join(filter(None, places))} or a tar (.tar)"

    def _check(self, suffix: str, content: Any = None, n: int = 1) -> None:
        """RequestError where what is known beforehand of the samples does not fit the format."""
        content = self.example if content is None else content
        if content is not None:
            self.kind.check_written(content, suffix, n, self.options.columns(n))

    def _check_standard_output(self) -> None:
        if self.options.json:
            raise RequestError("--json and --out - both want standard output; leave out one of them")
        if sys.stdout.isatty():
            raise RequestError("--out - writes a tar, which a terminal cannot show; pipe it on, or name a file or folder")

    def _check_folder(self, folder: Path) -> None:
        """Where the number of samples is not known, the first stands for all; the rest are checked as they are written."""
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise RequestError(f"--out {folder}: {existing} is not a folder that can be written to")
        if existing != folder or self.options.force:
            return
        taken = {entry.name for entry in folder.iterdir()}
        for position in range(self.expected or 1):
            if (name := self.options.stem(position) + self.suffix) in taken:
                raise _taken(folder / name)

    def _to_folder(self, folder: Path, samples: Iterable[Sample]) -> Iterator[Line]:
        for name, sample, content in self._encoded(samples):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            if os.path.lexists(path) and not self.options.force:
                raise _taken(path)
            with written_aside(path, follow=False) as file:
                file.write(content)
            yield {"path": str(path), **sample.record, **self.kind.describe(sample.content)}

    def _to_sheet(self, path: Path, suffix: str, samples: Iterable[Sample]) -> Iterator[Line]:
        first, samples = _first(samples)
        self._check(suffix, first.content, self.expected or 1)
        drawn = list(samples)
        sheet = self.kind.sheet([sample.content for sample in drawn], self.options.columns(len(drawn)), suffix)
        with written_aside(path) as file:
            file.write(sheet.content)
        summary = _Summary()
        for sample in drawn:
            summary.add(sample.record)
        yield summary.line(path, **sheet.about)

    def _to_array(self, path: Path, samples: Iterable[Sample]) -> Iterator[Line]:
        first, samples = _first(samples)
        columns: dict[str, list[Any]] = {key: [] for key, value in first.record.items() if isinstance(value, int | float | str)}
        summary = _Summary()
        with written_aside(path) as file, self.kind.array(path.resolve().parent) as array:
            for sample in samples:
                array.add(sample.content)
                summary.add(sample.record)
                columns = {key: values for key, values in columns.items() if key in sample.record}
                for key, values in columns.items():
                    values.append(sample.record[key])
            array.save(file, columns)
        yield summary.line(path)

    def _to_tar_file(self, path: Path, samples: Iterable[Sample]) -> Iterator[Line]:
        with path.open("wb") if is_stream(path) else written_aside(path) as file:
            summary = self._write_tar(file, samples)
        yield summary.line(path)

    def _to_standard_output(self, samples: Iterable[Sample]) -> Iterator[Line]:
        self._write_tar(sys.stdout.buffer, samples)
        return iter(())

    def _write_tar(self, stream: BinaryIO, samples: Iterable[Sample]) -> _Summary:
        """A member a sample, each flushed as soon as it is there (`tarfile` itself holds some back)."""
        now = int(time.time())
        summary = _Summary()
        for name, sample, content in self._encoded(samples):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), now
            stream.write(member.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE))
            stream.flush()
            summary.add(sample.record)
        stream.write(bytes(2 * tarfile.BLOCKSIZE))
        stream.flush()
        return summary

    def _encoded(self, samples: Iterable[Sample]) -> Iterator[tuple[str, Sample, bytes]]:
        """Each sample with its file's name and content."""
        for position, sample in enumerate(samples):
            yield self.options.stem(position) + self.suffix, sample, self.kind.encode(sample.content, self.suffix)


def _taken(path: Path) -> RequestError:
    return RequestError(f"{path} exists; add --force to overwrite such files, or choose another place with --out")


def _first(samples: Iterable[Sample]) -> tuple[Sample, Iterator[Sample]]:
    """The first sample, and all of them."""
    iterator = iter(samples)
    first = next(iterator, None)
    if first is None:
        raise AigcError("there is no sample to write")
    return first, chain([first], iterator)


@dataclass
class _Summary:
    """What one file of many samples is: what their records agree in, and how many they are."""

    n: int = 0
    shared: Line = field(default_factory=dict)

    def add(self, record: Line) -> None:
        if self.n == 0:
            self.shared = dict(record)
        elif any(record.get(key) != value for key, value in self.shared.items()):
            self.shared = {key: value for key, value in self.shared.items() if record.get(key) == value}
        self.n += 1

    def line(self, path: Path, **more: Any) -> Line:
        return {"path": str(path), **self.shared, "n": self.n, **more}
