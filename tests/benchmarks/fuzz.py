"""Fuzzes what reads files that may come from a stranger, guided by what code is reached.

    pip install atheris
    python tests/benchmarks/fuzz.py TARGET [--runs 1000000] [--seconds S] [--corpus FOLDER] [--kept FOLDER]

A target reads bytes as a file of its kind. Whatever it raises, besides the error that says what is wrong with the file, is a
crash; so is more than a few seconds. Of each crash the first input is kept, and they are listed at the end, with exit code 1. An
input that ends the process, as a fault in a C library does, is kept by libFuzzer as crash-* in the current folder.

To try a kept input again:  python tests/benchmarks/fuzz.py TARGET --input FILE
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import resource
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import wave
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["aigc_cli", "tarfile", "zipfile"]):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from aigc_cli.commands.page import _settings
    from aigc_cli.commands.runs import curves, summary
    from aigc_cli.data import arrays, compression
    from aigc_cli.data.latents_input import read_latents
    from aigc_cli.data.pictures.decoding.decode import decode, look
    from aigc_cli.data.pictures.decoding.raw import NotDecodable
    from aigc_cli.data.pictures.format import PictureFormat
    from aigc_cli.data.pictures.sources.arrays import ArrayReader
    from aigc_cli.data.pictures.sources.readers import ArchiveReader
    from aigc_cli.data.pictures.sources.tables import open_table
    from aigc_cli.data.sounds.decode import encoded
    from aigc_cli.data.sources import archives
    from aigc_cli.data.tables import choice, table
    from aigc_cli.data.text.archived import read_archive, recognise_archive
    from aigc_cli.data.text.formats import read_documents
    from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, byte
    from aigc_cli.engine.checkpoints import manifest
    from aigc_cli.engine.checkpoints.checkpoint import read_state
    from aigc_cli.engine.network import load_network
    from aigc_cli.engine.runs.run import open_run
    from aigc_cli.errors import AigcError, RequestError
    from aigc_cli.options import build, gather

SLOW = 5.0  # seconds
FOLDER = Path(tempfile.mkdtemp(prefix="aigc-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


@dataclass(frozen=True)
class Target:
    run: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    expected: tuple[type[Exception], ...] = (RequestError,)
    longest: int = 4096  # bytes of an input
    by_libraries: bool = False  # in C or Rust: seeds that reach the same Python may differ there


def a_file(name: str, content: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(content)
    return path


def picked(data: bytes, names: Sequence[str]) -> tuple[str, bytes]:
    """One of the names, by the first byte, and the rest."""
    return names[data[0] % len(names)] if data else names[0], data[1:]


def for_each(names: Sequence[str], contents: dict[str, Sequence[bytes]]) -> list[bytes]:
    """Seeds for what takes its first byte for the choice of a name."""
    return [bytes([names.index(name)]) + content for name, of in contents.items() for content in of]


# Tables and texts

TABLES = (".tsv", ".csv", ".jsonl", ".json", ".txt", ".csv.gz")


def read_table(data: bytes) -> None:
    suffix, content = picked(data, TABLES)
    path = a_file(f"a{suffix}", gzip.compress(content, 1) if suffix.endswith(".gz") else content)
    table._sniffed.cache_clear()
    choice._searched.cache_clear()
    if suffix == ".txt":
        for layout in ("document", "lines", "paragraphs"):
            list(islice(read_documents(path, layout), 1000))  # type: ignore[arg-type]
        return
    found = choice.find_columns([path], table.Asked(), path)
    list(islice(read_documents(path, "document", found.columns[path], table.Asked()), 1000))


def of_tables() -> list[bytes]:
    text = 'id\ttext\n1\tthe fox, "quoted"\n2\tover the hill\n3\ta longer line of text\n'
    rows = [{"text": "the fox went over the hill", "n": i, "of": ["a b", None], "in": {"body": "x y z"}} for i in range(3)]
    return for_each(
        TABLES,
        {
            ".tsv": [text.encode(), text.encode("utf-16"), b"a\tb\r1\t2\r", b"\xef\xbb\xbf" + text.encode()],
            ".csv": [b'sep=;\na;"b ""c"" d\ne";f\n1;2;3\n', b'text,label\n"a poem, of two\nlines",x\nother text here,y\n', b"a|b\n1|2\n3|4\n"],
            ".jsonl": ["\n".join(map(json.dumps, rows)).encode(), b'"a b"\n"c d"\n', b'{"messages": [{"role": "user", "content": "hi you"}]}\n'],
            ".json": [json.dumps(rows, indent=1).encode(), json.dumps({"columns": ["text"], "data": [["a b c"]]}).encode(), json.dumps({"data": rows}).encode(), b'{"a": {"0": "x y"}, "b": {"0": "z"}}'],
            ".txt": [b"a line\n\nanother\r\nand\rmore\n", "\u202e\0\u2028é".encode()],
            ".csv.gz": [b"text\nthe fox\nthe hen\n"],
        },
    )  # fmt: skip


COLUMNS = (".parquet", ".arrow")


def read_columns(data: bytes) -> None:
    suffix, content = picked(data, COLUMNS)
    path = a_file(f"a{suffix}", content)
    for raw in open_table(path, None, "").read():
        try:
            raw.content() if callable(raw.content) else None
        except OSError:  # a cell without a file
            continue


def of_columns() -> list[bytes]:
    encoded = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = pa.array([{"bytes": b"x" * 30, "path": None}, {"bytes": None, "path": "hf://a"}] * 5, encoded)
    tables = [
        pa.table({"image": cells, "label": list(range(10))}),
        pa.table({"image": [b"a", b"bc"], "label": ["x", None], "size": [0.5, 1]}),
    ]
    found: dict[str, list[bytes]] = {".parquet": [], ".arrow": []}
    for of in tables:
        pq.write_table(of, file := io.BytesIO())
        found[".parquet"].append(file.getvalue())
        for new in (pa.ipc.new_file, pa.ipc.new_stream):
            with new(file := io.BytesIO(), of.schema) as writer:
                writer.write_table(of)
            found[".arrow"].append(file.getvalue())
    return for_each(COLUMNS, found)


# Archives

ARCHIVES = (".tar", ".tgz", ".zip", ".tar.gz")


def repaired(tar: bytes) -> bytes:
    """A tar whose headers have the right checksums, so that what they say is believed."""
    blocks = bytearray(tar)
    for at in range(0, len(blocks) - 511, 512):
        if blocks[at + 257 : at + 262] == b"ustar":
            blocks[at + 148 : at + 156] = b" " * 8
            blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + 512])
    return bytes(blocks)


def read_any_archive(data: bytes) -> None:
    """The first byte says what kind of archive it is, and as what it is read: each way reads all headers."""
    way = data[0] // len(ARCHIVES) % 4 if data else 0
    suffix, content = picked(data, ARCHIVES)
    content = repaired(content) if suffix != ".zip" else content
    path = a_file(f"a{suffix}", gzip.compress(content, 1) if suffix in (".tgz", ".tar.gz") else content)
    if way == 0:
        ArchiveReader(path, None, "")
    elif way == 1:
        recognise_archive(path, ())
    elif way == 2:
        list(read_archive(path, "document", ()))
    else:
        for _, content_of in archives.Archive(path).read([".png", ".txt", ".json"]):
            try:
                content_of().read()
            except RequestError:
                raise
            except Exception:  # a broken member
                continue


def of_archives() -> list[bytes]:
    files = [("a/b.png", tarfile.REGTYPE), ("é" * 80 + ".txt", tarfile.REGTYPE)]
    others = [("c.json", tarfile.REGTYPE), ("l.png", tarfile.SYMTYPE), ("d.png", tarfile.CHRTYPE), ("e", tarfile.DIRTYPE)]

    def tar(members: list[tuple[str, bytes]], format: int, **more: Any) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=format, **more) as archive:
            for name, kind in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
                content = b'{"label": 1}' if name == "c.json" else b"text"
                member.size = len(content) if kind == tarfile.REGTYPE else 0
                archive.addfile(member, io.BytesIO(content))
        blocks = -(-len(file.getvalue().rstrip(b"\0")) // 512)
        return file.getvalue()[: 512 * (blocks + 2)]  # two empty ones end it; `tarfile` adds more

    def packed(*kinds: int) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for number, kind in enumerate(kinds):
                archive.writestr(f"{number}/é.txt", b"some text " * 20, kind)
            archive.writestr("a.json", '{"label": "x"}')
        return file.getvalue()

    sparse = bytearray(tar(files, tarfile.GNU_FORMAT))
    sparse[156:157] = b"S"
    tars = [
        tar(files, tarfile.GNU_FORMAT),
        tar(files, tarfile.PAX_FORMAT),
        tar(files, tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.map": "0,4", "size": "4"}),
        tar(others, tarfile.PAX_FORMAT),
        bytes(sparse),
    ]
    zips = [packed(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]
    seeds = for_each(ARCHIVES, {".tar": tars, ".tgz": tars[:1], ".zip": zips, ".tar.gz": tars[1:2]})
    return [bytes([seed[0] + way * len(ARCHIVES)]) + seed[1:] for way in range(4) for seed in seeds]


# Pictures and sounds


def with_checksums(png: bytes) -> bytes:
    """A PNG whose chunks have the right checksums."""
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        return png
    fixed, at = bytearray(png), 8
    while at + 12 <= len(fixed):
        size = int.from_bytes(fixed[at : at + 4], "big")
        end = at + 8 + size
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)


SHAPES = (PictureFormat(8, 8, "RGB"), PictureFormat(8, 8, "L", "pad"), PictureFormat(8, 8, "RGBA", "stretch"))


def read_picture(data: bytes) -> None:
    """The length says what is made of it, which leaves the file as it is."""
    opened = partial(io.BytesIO, with_checksums(data))
    if way := len(data) % (len(SHAPES) + 1):
        decode(opened, SHAPES[way - 1])
    else:
        look(opened)


def of_pictures() -> list[bytes]:
    found = []
    pixels = np.arange(12 * 10 * 4, dtype=np.uint8).reshape(12, 10, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("RGBA", "RGB", "L", "P", "1", "LA", "CMYK", "I;16"):
        image = Image.fromarray(pixels).convert("RGB" if mode in ("P", "CMYK") else "L" if mode == "I;16" else mode)
        image = image if mode in ("RGBA", "RGB", "L", "1", "LA") else image.convert(mode)
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"):
            file = io.BytesIO()
            try:
                image.save(file, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
            except (OSError, ValueError, KeyError):
                continue
            found.append(file.getvalue())
    file = io.BytesIO()
    frames = [Image.fromarray(pixels[..., :3] + np.uint8(number)) for number in range(3)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return [seed + bytes(more) for seed in (*found, file.getvalue()) for more in range(len(SHAPES) + 1)]


def read_sound(data: bytes) -> None:
    with encoded(partial(io.BytesIO, data))() as sound:
        for _ in islice(sound.blocks(), 50):
            pass


def of_sounds() -> list[bytes]:
    import soundfile

    wave_of = np.sin(np.arange(600, dtype=np.float32) / 5) / 2
    found = []
    kinds = (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", "PCM_16"), ("AU", "ULAW"), ("CAF", "ALAC_16"), ("W64", "PCM_24"), ("RF64", "PCM_U8"))  # fmt: skip
    for format, subtype in kinds:
        file = io.BytesIO()
        soundfile.write(file, np.stack([wave_of, -wave_of], 1), 8000, format=format, subtype=subtype)
        found.append(file.getvalue())
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1), written.setsampwidth(1), written.setframerate(8000)
        written.writeframes(bytes(300))
    return [*found, file.getvalue()]


def read_music(data: bytes) -> None:
    from aigc_cli.data.music.events import Notation
    from aigc_cli.data.music.pieces import read_score

    score = read_score(a_file("a.mid", data))
    notation = Notation.of([score])
    notation.read(notation.write(score))


def of_music() -> list[bytes]:
    from symusic import Note, Score, Tempo, TimeSignature, Track

    score = Score(480)
    score.tempos.append(Tempo(0, 120))
    score.time_signatures.append(TimeSignature(0, 3, 4))
    for program, drum in ((0, False), (40, False), (0, True)):
        track = Track("a", program, drum)
        for number in range(6):
            track.notes.append(Note(number * 240, 200, 40 + number, 80))
        score.tracks.append(track)
    midi = score.dumps_midi()
    return [midi, b"RIFF" + bytes(4) + b"RMIDdata" + bytes(4) + midi]


# Runs and models

RECORD = {
    "format": 1, "backend": "transformer", "status": "finished", "created": "2026-01-02T03:04:05.678Z", "asked": {"steps": 4},
    "plan": {"steps": 4, "data": "input.tsv", "lr": 0.1}, "data": {"location": "input.tsv", "kind": "text", "splits": {"train": {"texts": 4}}},
    "best": {"step": 4, "bits_per_char": 2.0}, "steps": 4, "seconds": 1.5, "reasons": ["small"], "versions": {"aigc": "0.1"},
}  # fmt: skip


def put(path: Path, content: bytes) -> None:
    """Write a file of a model, unless that is what it holds."""
    if WRITTEN.get(path) != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        WRITTEN[path] = content


WRITTEN: dict[Path, bytes] = {}
RECORDS = ("run.json", "metrics.jsonl")
PAGES = 64  # of so many records one is made a page, which takes long


def read_record(data: bytes) -> None:
    name, content = picked(data, RECORDS)
    folder = FOLDER / "run"
    put(folder / "run.json", content if name == "run.json" else json.dumps(RECORD).encode())
    put(folder / "metrics.jsonl", content if name == "metrics.jsonl" else b"")
    run = open_run(folder)
    summary(run), curves(run), _settings(run, None), run.reference, run.resume_command, run.first_sample
    if zlib.crc32(data) % PAGES == 0:
        page(run)


def of_records() -> list[bytes]:
    lines = [{"event": "trained", "step": 1, "loss": 2.0}, {"event": "evaluated", "step": 2, "bits_per_char": 3.0, "best": True}, {"event": "rolled_back", "step": 3, "to": 1}]  # fmt: skip
    return for_each(
        RECORDS, {"run.json": [json.dumps(RECORD).encode()], "metrics.jsonl": ["\n".join(map(json.dumps, lines)).encode()]}
    )


CHECKPOINTS = ("manifest.json", "position.json", "config.json", "model.safetensors", "aigc.json", "format.json")


def read_checkpoint(data: bytes) -> None:
    from torch import nn

    from aigc_cli.backends.transformer.prompts import Start
    from aigc_cli.backends.vae.codes.codec import FORMAT, read_data
    from aigc_cli.backends.vae.networks import VAEConfig

    name, content = picked(data, CHECKPOINTS)
    folder = FOLDER / name
    if name == "manifest.json":
        put(folder / "config.json", b"{}")
        put(folder / name, signed(content))
        manifest.damage(folder)
    elif name == "position.json":
        put(folder / "state" / name, content)
        read_state(folder)
    elif name in ("config.json", "model.safetensors"):
        put(folder / "model.safetensors", weights())
        put(folder / "config.json", b'{"inputs": 3, "outputs": 2}')
        put(folder / name, content)
        load_network(folder, lambda of: (of["inputs"], of["outputs"]), lambda of: nn.Linear(*of))
    elif name == "aigc.json":
        put(folder / name, content)
        _ = Start.load(folder).kind
    else:
        put(folder / FORMAT, content)
        sizes = {"height": 8, "width": 8, "channels": 3, "widths": (8,), "blocks": (1,), "vector_width": 8}
        of_codes = VAEConfig(
            **sizes, latent=0, likelihood="picture", vector_blocks=0, latent_map=2, prior="none", levels=(4, 4)
        )
        read_data(folder, of_codes)


@cache
def weights() -> bytes:
    from safetensors.torch import save
    from torch import zeros

    return save({"weight": zeros(2, 3), "bias": zeros(2)})


def of_checkpoints() -> list[bytes]:
    state = {"step": 4, "seconds": 1.0, "plan_steps": 8, "best": None, "norms": {"a": [1.0]}, "concerns": ["x"]}
    shape = {"height": 8, "width": 8, "mode": "RGB", "fit": "crop"}
    return for_each(
        CHECKPOINTS,
        {
            "manifest.json": [json.dumps({"format": 1, "files": {"config.json": {"bytes": 2, "sha256": "0"}}}).encode()],
            "position.json": [json.dumps(state).encode()],
            "config.json": [b'{"inputs": 3, "outputs": 2}'],
            "model.safetensors": [weights()],
            "aigc.json": [b'{"start": {"with_eot": true, "fields": ["a"], "codes": [], "unseen": [1]}}', b'{"start": {"with_eot": true, "of_kind": {"kind": "pictures"}}}'],
            "format.json": [json.dumps({"kind": "pictures", "format": shape}).encode(), json.dumps(shape).encode()],
        },
    )  # fmt: skip


TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "spelling.json")


def read_tokenizer(data: bytes) -> None:
    name, content = picked(data, TOKENIZERS)
    folder = FOLDER / name
    for saved, bytes_of in of_bytes().items():
        if saved != name:
            put(folder / saved, bytes_of)
    put(folder / name, content)
    try:
        tokenizer = Tokenizer.load(folder)
    except ValueError:  # as it says
        return
    tokenizer.decode(tokenizer.encode("the fox"))


@cache
def of_bytes() -> dict[str, bytes]:
    """The files of a tokenizer of bytes."""
    byte().save(folder := FOLDER / "tokens")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def of_tokenizers() -> list[bytes]:
    files = of_bytes()
    short = json.dumps(json.loads(files["tokenizer.json"])).encode()
    return for_each(
        TOKENIZERS,
        {
            "tokenizer.json": [short],
            "tokenizer_config.json": [files["tokenizer_config.json"]],
            "spelling.json": [b'{"counts": {"a": 1}, "words": 2}'],
        },
    )


def signed(content: bytes) -> bytes:
    """A manifest with the right digest of itself."""
    try:
        value = json.loads(content)
        return json.dumps({**value, "sha256": manifest._digest_of(value)}).encode()
    except (ValueError, TypeError, RecursionError):
        return content


def page(run: Any) -> None:
    from aigc_cli.backends.registry import backends
    from aigc_cli.engine.runs.run import read_metrics
    from aigc_cli.ui.report import Report, render

    meanings = backends()["transformer"].meanings
    render(Report(run.name, run.status, "", run.record, read_metrics(run), [], None, "", [], [], "", meanings=meanings))


# Settings, patterns, vectors

SETTINGS = (".toml", ".json")


def read_settings(data: bytes) -> None:
    from aigc_cli.backends.transformer.config import Train

    suffix, content = picked(data, SETTINGS)
    build(Train, gather(Train, {"config": str(a_file(f"a{suffix}", content))}, {}))


def of_settings() -> list[bytes]:
    toml = b'steps = 10\nlr = 1e-3\ndata = "a.tsv"\nfields = ["a", "b"]\ncompile = false\ntied = true\nminutes = 0.5\n'
    return for_each(
        SETTINGS, {".toml": [toml, b'[plan]\nsteps = 1\n"a-b" = 1979-05-27T07:32:00Z'], ".json": [json.dumps(RECORD).encode()]}
    )


def match(data: bytes) -> None:
    constraint = matching().RegexConstraint(data.decode("utf-8", "ignore"), TOKENS)
    begun = constraint.begin()
    allowed = constraint.allowed([begun])[0]
    for token in allowed.nonzero()[:1, 0].tolist():
        if not begun.take(token):
            constraint.allowed([begun])


@cache
def matching() -> Any:
    """The module, with the parts shared that patterns don't change: the threads, and the vocabulary cut up for some classes."""
    from aigc_cli.backends.transformer.decoding import regex_constraint

    shared: Any = regex_constraint
    wrapped, tokenizer_of = shared.TokenizerWrapper(shared._Vocabulary(TOKENS)), shared.LLTokenizer

    @lru_cache(256)
    def cut(slices: tuple[str, ...] | None) -> Any:
        return tokenizer_of(wrapped, slices=None if slices is None else list(slices))

    shared._Vocabulary = shared.TokenizerWrapper = lambda of: of
    shared.LLTokenizer = lambda _, slices=None: cut(None if slices is None else tuple(slices))
    shared.LLExecutor = cache(shared.LLExecutor)
    return shared


def of_patterns() -> list[bytes]:
    texts = (
        r"[a-z]{1,5} \d+",
        r"(a|b)*c?",
        r"\p{Lu}\w+(, \p{L}+){2,3}\.",
        r"(?i)fox[^\s\]]",
        "é+.",
        r"\x41|\u{1F600}",
        "[[a-z]&&[^b]]",
        "a{1000}",
        r"(?:ab?){2,}?|(?P<n>c)$",
        r"^\b(?x: a b )(?s:.)\B",
        r"[[:alpha:]--[aeiou]~~[x]]",
        r"((a{1,9}){1,9}){1,9}",
        r"(?=a)b(?!c)\1",
        r"\p{Greek}\P{L}\pN[^\x00-\x7f]",
        r"a??b*?c+?d{,3}[]-]",
        r"(|a|)()*\/\n\t\-",
    )
    return [text.encode() for text in texts]


def read_vectors(data: bytes) -> None:
    read_latents(str(a_file("a.latents", data)))


def of_vectors() -> list[bytes]:
    files = [
        b"name\tlabel\tlatent_0\tlatent_1\na\tx\t1.5\t2\nb\t\t-1e-3\t0\n",
        b'{"name": "a", "latent": [1, 2.5]}\n{"name": "b", "latent": [3, 4]}\n',
    ]
    for arrays_in in (
        {"latent": np.ones((2, 3), np.float32), "name": np.array(["a", "b"])},
        {"codes": np.ones((2, 4), np.int64)},
    ):
        file = io.BytesIO()
        np.savez(file, **arrays_in)  # type: ignore[arg-type]
        files.append(file.getvalue())
    file = io.BytesIO()
    np.save(file, np.eye(3))
    return [*files, file.getvalue()]


ARRAYS = (".npy", ".npz", ".npy.gz")


def read_arrays(data: bytes) -> None:
    suffix, content = picked(data, ARRAYS)
    path = a_file(f"a{suffix}", gzip.compress(content, 1) if suffix.endswith(".gz") else content)
    for stored in islice(arrays.arrays_of(path), 5):
        try:
            list(islice(stored.chunks(), 3))
        except RequestError:
            continue
    list(islice(ArrayReader(path, "", None, "").read(), 5))


def of_arrays() -> list[bytes]:
    found: dict[str, list[bytes]] = {".npy": [], ".npz": [], ".npy.gz": []}
    for array in (
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((2, 3, 4, 4)),
        np.asfortranarray(np.ones((3, 5, 4), np.int16)),
        np.zeros((2, 4, 4), bool),
    ):
        file = io.BytesIO()
        np.save(file, array)
        found[".npy"].append(file.getvalue())
        file = io.BytesIO()
        np.savez_compressed(file, images=array, labels=np.arange(len(array)), size=np.float32(2))
        found[".npz"].append(file.getvalue())
    return for_each(ARRAYS, {**found, ".npy.gz": found[".npy"][:1]})


TARGETS = {
    "tables": Target(read_table, of_tables),
    "columns": Target(read_columns, of_columns, by_libraries=True),
    "archives": Target(read_any_archive, of_archives, longest=5632),
    "pictures": Target(read_picture, of_pictures, (NotDecodable,), by_libraries=True),
    "sounds": Target(read_sound, of_sounds, (NotDecodable,), longest=8192, by_libraries=True),
    "music": Target(read_music, of_music, by_libraries=True),
    "records": Target(read_record, of_records, (AigcError,)),
    "checkpoints": Target(read_checkpoint, of_checkpoints, (AigcError,)),
    "tokenizers": Target(read_tokenizer, of_tokenizers, (AigcError,), longest=8192),
    "settings": Target(read_settings, of_settings),
    "match": Target(match, of_patterns, longest=64, by_libraries=True),
    "vectors": Target(read_vectors, of_vectors),
    "arrays": Target(read_arrays, of_arrays),
}


class Fuzzing:
    """Runs a target on one input after another, and keeps the first that crashes it in each way."""

    def __init__(self, name: str, runs: int, seconds: float, kept: Path) -> None:
        self.name, self.target, self.runs, self.seconds, self.kept = name, TARGETS[name], runs, seconds, kept
        self.began, self.done, self.found = time.monotonic(), 0, Counter[str]()

    def once(self, data: bytes) -> None:
        before = time.monotonic()
        try:
            self.target.run(data)
        except self.target.expected:
            pass
        except (KeyboardInterrupt, SystemExit):
            self.end()
        except BaseException as error:  # a library's panic is no Exception
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "aigc_cli" in frame.filename] or frames
            self._keep(data, f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].lineno}: {error!s:.100}")
        after = time.monotonic()
        if after - before > SLOW:
            self._keep(data, f"{after - before:.0f} s", "slow")
        self.done += 1
        if self.done >= self.runs or after - self.began > self.seconds:
            self.end()

    def _keep(self, data: bytes, what: str, kind: str = "") -> None:
        kind = kind or what.partition(": ")[0]
        self.found[kind] += 1
        if self.found[kind] == 1:
            self.kept.mkdir(parents=True, exist_ok=True)
            path = self.kept / f"{self.name}-{len(self.found)}"
            path.write_bytes(data)
            print(f"{path}: {what}", flush=True)

    def end(self) -> None:
        took, peak = time.monotonic() - self.began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"| {self.name} | {self.done:,} | {took:,.0f} s | {peak:.1f} GB | {sum(self.found.values()):,} in {len(self.found)} ways |"
        )
        for kind, times in self.found.most_common():
            print(f"  {times:,} × {kind}")
        sys.stdout.flush()
        shutil.rmtree(FOLDER, ignore_errors=True)
        os._exit(1 if self.found else 0)


def prepare() -> None:
    """Limits at which what is merely large is not slow."""
    global TOKENS
    TOKENS = byte()
    Image.MAX_IMAGE_PIXELS = 1 << 16
    archives.MAX_MEMBER_BYTES = 1 << 20
    archives.SLACK_BYTES = compression.SLACK_BYTES = 1 << 22


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--corpus", type=Path, help="inputs that reached new code, to go on from")
    parser.add_argument("--kept", type=Path, default=Path("crashes"), help="where inputs that crash are kept")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path, help="only this input, with what it raises")
    asked = parser.parse_args()
    prepare()
    target = TARGETS[asked.target]
    if asked.input is not None:
        target.run(asked.input.read_bytes())
        return
    corpus = asked.corpus or FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    random.seed(asked.seed)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    fuzzing = Fuzzing(asked.target, asked.runs, asked.seconds, asked.kept)
    options = [f"-keep_seed={target.by_libraries:d}", f"-max_len={target.longest}", f"-seed={asked.seed}", "-runs=-1", "-timeout=120", "-rss_limit_mb=8000", "-print_final_stats=0", "-verbosity=0"]  # fmt: skip
    atheris.Setup([sys.argv[0], str(corpus), *options], fuzzing.once)
    atheris.Fuzz()


TOKENS: Any = None

if __name__ == "__main__":
    main()
