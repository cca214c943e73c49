"""Codecs: how a backend finds and opens the one that another backend makes, without importing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aigc_cli.backends.base import Backend, Codec, imported
from aigc_cli.backends.pictures.options import as_pictures
from aigc_cli.backends.registry import backends
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError

if TYPE_CHECKING:
    from aigc_cli.data.pictures.prepared.preparing import Reading


def codec_backend() -> Backend:
    """The backend that makes codecs: the first in alphabetical order. Raises `RequestError` if none is installed."""
    found = next((backend for backend in backends().values() if backend.codec is not None), None)
    if found is None:
        raise RequestError("no installed backend makes codecs, which turn pictures into codes")
    return found


def open_codec(run: Run | Path, device: str) -> Codec:
    """The codec of a run, or in a folder that `Codec.save` wrote.

    Raises `RequestError` if the run has no model yet, or is not a codec.
    """
    if isinstance(run, Path):
        return _load(codec_backend(), run, device)
    backend = backends()[run.backend]
    if backend.codec is None:
        wanted = codec_backend()
        raise RequestError(
            f"run {run.path} is no codec: it was trained by {backend.name}, and codecs are trained by {wanted.name}"
        )
    return _load(backend, run.require_model(), device)


def reading_of(codec: Codec) -> Reading:
    """How what a codec encodes is read."""
    return as_pictures(codec.data["kind"]).like(codec.data)


def _load(backend: Backend, folder: Path, device: str) -> Codec:
    assert backend.codec is not None
    codec: Codec = imported(backend.codec)(folder, device)
    return codec
