"""A third kind of data for the tests: rows of numbers in .csv files. All of it is here; the package is not edited for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from aigc_cli.data import cache, splits
from aigc_cli.data.kinds import Kind
from aigc_cli.data.sources import opening
from aigc_cli.errors import RequestError


class Numbers(Kind):
    name, suffixes, demos = "numbers", (".csv",), ("numbers",)

    def recognise(self, head):
        return ".csv" if head[:1] in b"-0123456789" else None

    def demo_fingerprint(self, location):
        return "a cubic"

    def show(self, content):
        return ",".join(f"{number:.4f}" for number in content)


NUMBERS = Numbers()


@dataclass(frozen=True)
class NumbersDataset:
    train: np.ndarray  # (n, d)
    select: np.ndarray
    report: np.ndarray
    info: dict[str, Any]
    notes: list[str]
    cached: bool
    spooled: Path | None


def prepare_numbers(data: str, val: str | None, input_format: str | None = None) -> NumbersDataset:
    with opening.open_training(NUMBERS, data, val, input_format) as opened:
        read = [_rows(snapshot) for snapshot in opened.snapshots]
        rows, of_val = read[0][0], read[-1][0]
        hashes, lengths = _hashes(rows), np.ones(len(rows), np.int64)
        if opened.val is None:
            plan = splits.plan_with_slice(hashes, lengths, "rows")
            held = [rows[plan.splits == split] for split in (splits.SELECT, splits.REPORT)]
        else:
            plan, held = splits.plan_with_val(hashes, lengths, _hashes(of_val)), [of_val, of_val]
        train = rows[plan.splits == splits.TRAIN]
        info = {**opened.describe(), "splits": {"train": {"rows": len(train)}}}
        was_cached = all(cached for _, cached in read)
        return NumbersDataset(train, *held, info, [*opened.notes, *plan.notes], was_cached, opened.spooled)


def _rows(snapshot: opening.Snapshot) -> tuple[np.ndarray, bool]:
    key = cache.key_of("numbers", snapshot.identity)

    def build():
        try:
            read = [np.loadtxt(path, np.float32, delimiter=",", ndmin=2) for path in snapshot.part.files]
        except ValueError as error:
            raise RequestError(f"{snapshot.part.location}: {error}") from None
        rows = np.concatenate(read) if read else np.linspace(-1, 1, 256, dtype=np.float32)[:, None] ** 3 + 2
        with opening.new_entry(key, [snapshot]) as folder:
            np.save(folder / "rows.npy", rows)

    return opening.cached(key, [snapshot], lambda folder: np.load(folder / "rows.npy"), build)


def _hashes(rows: np.ndarray) -> np.ndarray:
    return np.array([int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest()) for row in rows], np.uint64)


check_unchanged = partial(opening.changes, NUMBERS)
