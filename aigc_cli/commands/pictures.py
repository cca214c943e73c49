"""Where pictures go: a folder of files, one sheet, an array, or a tar. Nothing is overwritten unasked, and whether it would
be is looked at before anything is computed."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from aigc_cli.backends.base import PictureOutput, Sample
from aigc_cli.commands.output import is_stream
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.files import check_file, written_aside
from aigc_cli.ui.terminal import colours, shows_pictures

Line: TypeAlias = Mapping[str, Any]
"""What is said of something written: its `path` and what is known of it."""
Writer: TypeAlias = Callable[[Iterable[Sample]], Iterator[Line]]
"""Writes samples as they come; a line for each file that is done."""
Passing: TypeAlias = Callable[[Iterable[Sample]], Iterable[Sample]]
"""Hands samples on, unchanged."""

_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


def picture_writer(options: PictureOutput, folder: Path, expected: int | None) -> Writer:
    """What `--out` asks for; `folder` is the place when it asks for nothing, `expected` the number of pictures where it is
    known. RequestError when it can't be written or is there already."""
    from aigc_cli.data.pictures.output import WRITTEN

    out = options.out
    suffix = _SUFFIXES[options.format or "png"]
    if out == "-":
        _check_standard_output(options)
        return partial(_to_standard_output, options, suffix)
    path = folder if out is None else Path(out)
    if is_stream(path):
        return partial(_to_tar_file, options, suffix, path)
    kind = path.suffix.lower()
    if out is None or path.is_dir() or out.endswith(os.sep) or not kind:
        _check_folder(path, options, suffix, expected)
        return partial(_to_folder, options, suffix, path)
    if kind in WRITTEN:
        if options.format and _SUFFIXES[options.format] != kind.replace(".jpeg", ".jpg"):
            raise RequestError(f"--out {out} is no {options.format} by its suffix; leave out --format")
        check_file(path, force=options.force)
        return partial(_to_sheet, options, kind, path, expected)
    if kind not in (".npz", ".tar"):
        raise RequestError(
            f"--out {out}: {kind} is not written here; name a folder (end it with {os.sep}), a sheet ({' '.join(WRITTEN)}), "
            "an array (.npz) or a tar (.tar)"
        )
    check_file(path, force=options.force)
    if kind == ".npz":
        if options.format:
            raise RequestError(f"--out {out} is an array, not {options.format} pictures; leave out --format")
        return partial(_to_array, path)
    return partial(_to_tar_file, options, suffix, path)


def print_lines(lines: Iterable[Line], *, as_json: bool) -> None:
    """Each as soon as its file is there: the path, or the whole line as JSON."""
    for line in lines:
        text = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") if as_json else os.fsencode(line["path"])
        sys.stdout.buffer.write(text + b"\n")
        sys.stdout.buffer.flush()


@contextmanager
def previewed(options: PictureOutput) -> Iterator[Passing]:
    """Looks at the samples that come by, and shows the first of them on standard error when the block ends well, where a person
    reads both streams on a terminal."""
    seen = sys.stdout.isatty() and shows_pictures(sys.stderr, os.environ)
    if options.quiet or options.json or not seen:
        yield lambda samples: samples
        return
    from aigc_cli.ui.preview import FirstPictures

    first = FirstPictures(sys.stderr, colours(os.environ))

    def passing(samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            first.add(_pixels(sample))
            yield sample

    yield passing
    with suppress(OSError):  # the pictures are written; nobody is left to look
        first.show()


def _check_standard_output(options: PictureOutput) -> None:
    if options.json:
        raise RequestError("--json and --out - both want standard output; leave out one of them")
    if sys.stdout.isatty():
        raise RequestError("--out - writes a tar, which a terminal cannot show; pipe it on, or name a file or folder")


def _check_folder(folder: Path, options: PictureOutput, suffix: str, expected: int | None) -> None:
    """Where the number of pictures is not known, the first stands for all; the rest are checked as they are written."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise RequestError(f"--out {folder}: {existing} is not a folder that can be written to")
    if existing != folder or options.force:
        return
    taken = {entry.name for entry in folder.iterdir()}
    for position in range(expected or 1):
        if (name := options.stem(position) + suffix) in taken:
            raise _taken(folder / name)


def _taken(path: Path) -> RequestError:
    return RequestError(f"{path} exists; add --force to overwrite such files, or choose another place with --out")


def _to_folder(options: PictureOutput, suffix: str, folder: Path, samples: Iterable[Sample]) -> Iterator[Line]:
    for name, sample, content in _encoded(options, suffix, samples):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        if path.exists() and not options.force:
            raise _taken(path)
        with written_aside(path) as file:
            file.write(content)
        yield {"path": str(path), **sample.record}


def _to_sheet(
    options: PictureOutput, suffix: str, path: Path, expected: int | None, samples: Iterable[Sample]
) -> Iterator[Line]:
    from aigc_cli.data.pictures.output import check_size, encode_picture, enlargement, sheet, sheet_size

    first, samples = _first(samples)
    height, width, _ = _pixels(first).shape
    scale = enlargement(height, width)
    if expected is not None:
        check_size(*sheet_size(expected, options.columns(expected), scale * height, scale * width), suffix)
    drawn = list(samples)
    if len(drawn) == 1:  # a picture, and no sheet
        scale = 1
    columns = options.columns(len(drawn))
    content = encode_picture(sheet([_pixels(sample) for sample in drawn], columns, scale), suffix)
    with written_aside(path) as file:
        file.write(content)
    yield _summary(path, [sample.record for sample in drawn], columns=columns, scale=scale)


def _to_array(path: Path, samples: Iterable[Sample]) -> Iterator[Line]:
    from aigc_cli.data.pictures.output import picture_array

    first, samples = _first(samples)
    keys = [key for key, value in first.record.items() if isinstance(value, int | float | str)]
    records = []
    with written_aside(path) as file, picture_array(path.resolve().parent) as pictures:
        for sample in samples:
            pictures.add(_pixels(sample))
            records.append(sample.record)
        pictures.save(file, {key: [record[key] for record in records] for key in keys})
    yield _summary(path, records)


def _to_tar_file(options: PictureOutput, suffix: str, path: Path, samples: Iterable[Sample]) -> Iterator[Line]:
    with path.open("wb") if is_stream(path) else written_aside(path) as file:
        records = _write_tar(options, suffix, file, samples)
    yield _summary(path, records)


def _to_standard_output(options: PictureOutput, suffix: str, samples: Iterable[Sample]) -> Iterator[Line]:
    _write_tar(options, suffix, sys.stdout.buffer, samples)
    return iter(())


def _write_tar(options: PictureOutput, suffix: str, stream: BinaryIO, samples: Iterable[Sample]) -> list[Line]:
    """A member a sample, each flushed as soon as it is there (`tarfile` itself holds some back); returns their records."""
    now = int(time.time())
    records = []
    for name, sample, content in _encoded(options, suffix, samples):
        member = tarfile.TarInfo(name)
        member.size, member.mtime = len(content), now
        stream.write(member.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE))
        stream.flush()
        records.append(sample.record)
    stream.write(bytes(2 * tarfile.BLOCKSIZE))
    stream.flush()
    return records


def _encoded(options: PictureOutput, suffix: str, samples: Iterable[Sample]) -> Iterator[tuple[str, Sample, bytes]]:
    """Each sample with its file's name and content."""
    from aigc_cli.data.pictures.output import encode_picture

    for position, sample in enumerate(samples):
        yield options.stem(position) + suffix, sample, encode_picture(_pixels(sample), suffix)


def _first(samples: Iterable[Sample]) -> tuple[Sample, Iterator[Sample]]:
    """The first sample, and all of them."""
    iterator = iter(samples)
    first = next(iterator, None)
    if first is None:
        raise AigcError("there is no picture to write")
    return first, chain([first], iterator)


def _pixels(sample: Sample) -> Any:
    assert sample.pixels is not None
    return sample.pixels


def _summary(path: Path, records: Sequence[Line], **more: Any) -> Line:
    """What one file of many pictures is: what their records agree in, and how many they are."""
    shared = {key: value for key, value in records[0].items() if all(record.get(key) == value for record in records)}
    return {"path": str(path), **shared, "n": len(records), **more}
