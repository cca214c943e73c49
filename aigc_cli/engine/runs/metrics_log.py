"""Writing metrics.jsonl: a line per report, evaluation and incident."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aigc_cli.engine.runs.run import Run, read_metrics


class MetricsLog:
    """A run's metrics.jsonl, open for appending. Anything after its first `keep_bytes` is dropped: it is about steps that will
    be repeated."""

    def __init__(self, run: Run, keep_bytes: int) -> None:
        self.run = run
        path = run.metrics if run.ours else Path(os.devnull)
        self._file = path.open("a", encoding="utf-8")
        if self._file.tell() > keep_bytes:
            self._file.truncate(keep_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def write(self, event: str, step: int, **values: Any) -> None:
        """Write a line and flush it, so that it can be read at once."""
        self._file.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        self._file.flush()

    def lines(self) -> list[dict[str, Any]]:
        """All lines so far."""
        return read_metrics(self.run)

    def sync(self) -> int:
        """Flush to disk. Returns the file's size in bytes."""
        if self.run.ours:
            os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size
