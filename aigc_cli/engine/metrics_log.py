"""metrics.jsonl in the making: a line for every report, evaluation and incident of a training."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import Any, Self

from aigc_cli.engine.run import Run, read_metrics


class MetricsLog:
    """A run's metrics.jsonl, open to be added to. What stands after its first `keep_bytes` is of steps that will be done again,
    and is dropped."""

    def __init__(self, run: Run, keep_bytes: int) -> None:
        self.run = run
        self._file = run.metrics.open("a", encoding="utf-8")
        if self._file.tell() > keep_bytes:
            self._file.truncate(keep_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def write(self, event: str, step: int, **values: Any) -> None:
        """A line, which can be read at once."""
        self._file.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        self._file.flush()

    def lines(self) -> list[dict[str, Any]]:
        """All so far."""
        return read_metrics(self.run)

    def sync(self) -> int:
        """Have all so far on the disk; returns its bytes."""
        os.fsync(self._file.fileno())
        return self.run.metrics.stat().st_size
