"""Decoding many examples of any kind: in parallel, a sample of them first, and giving up where too many are damaged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeVar

from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.decoding.raw import Described, NotDecodable
from aigc_cli.data.pictures.prepared.collector import Collector, listed_failures
from aigc_cli.data.sources.source import Part
from aigc_cli.errors import RequestError
from aigc_cli.machine import usable_cores


class Example(Protocol):
    """One example of a source, before it is decoded."""

    @property
    def name(self) -> str: ...

    @property
    def factors(self) -> tuple[float | None, ...]:
        """Values of its reader's factors; None if unknown."""


Raw = TypeVar("Raw")
Some = TypeVar("Some", bound=Example)
RawOut = TypeVar("RawOut", covariant=True)
T = TypeVar("T")

AT_ONCE = 8
"""Examples that a thread decodes at a time."""
_REPORT = 64  # examples between two reports
_SAMPLE = 500  # examples looked at to choose the format
_TOLERATED = 0.1  # the share of undecodable examples that is tolerated


class Readable(Described, Protocol[RawOut]):
    """A reader of examples of any kind."""

    def read(self, step: int = 1) -> Iterator[RawOut]:
        """Every `step`-th example."""


def in_parallel(
    examples: Iterable[Raw], function: Callable[[Raw], T], at_once: int = AT_ONCE
) -> Iterator[tuple[Raw, T | NotDecodable]]:
    """The results of `function` for each example, or why it failed, in order; a bounded number are in memory."""

    def run(batch: list[Raw]) -> list[tuple[Raw, T | NotDecodable]]:
        results: list[tuple[Raw, T | NotDecodable]] = []
        for raw in batch:
            try:
                results.append((raw, function(raw)))
            except NotDecodable as error:
                results.append((raw, error))
        return results

    left = iter(examples)
    workers = min(8, usable_cores())
    pending: deque[Future[list[tuple[Raw, T | NotDecodable]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            while batch := list(islice(left, at_once)):
                pending.append(pool.submit(run, batch))
                if len(pending) > (2 * workers if at_once > 1 else workers):
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:  # when it is interrupted, too
            for future in pending:
                future.cancel()


def decoded(
    part: Part,
    readers: Sequence[Readable[Some]],
    decode: Callable[[Some], T],
    collector: Collector,
    progress: Progress,
    *,
    things: str,
    at_once: int = AT_ONCE,
) -> Iterator[tuple[Some, T, list[float | None]]]:
    """All examples of the readers, in order: each with what `decode` makes of it and the values of `shared_factors`.

    The `collector` is told of those that cannot be decoded. Raises RequestError, and stops, if they are too many, and if there
    is no example.
    """
    total, seen, factors = total_of(readers), 0, shared_factors(readers)
    for reader in readers:
        columns = [reader.factors.index(name) for name in factors]
        for raw, made in in_parallel(reader.read(), decode, at_once):
            seen += 1
            if isinstance(made, NotDecodable):
                collector.skip(raw.name, str(made))
                stop_if_too_many(part, collector, total, things)
            else:
                yield raw, made, [raw.factors[column] for column in columns]
            if seen % _REPORT == 0:
                progress(f"reading {things}", seen, total)
    progress(f"reading {things}", seen, total)
    if seen == 0:
        raise nothing_in(part, readers, things)
    stop_if_too_many(part, collector, seen, things)


def shared_factors(readers: Sequence[Described]) -> list[str]:
    """The factors that all readers know."""
    return [name for name in readers[0].factors if all(name in reader.factors for reader in readers)]


def looked_at(
    part: Part, readers: Sequence[Readable[Some]], look: Callable[[Some], T], progress: Progress, *, things: str
) -> list[T]:
    """What some of the examples are like, spread over the source. Raises RequestError if none can be decoded."""
    looks, failures = list[T](), list[tuple[str, str]]()
    progress("looking at a sample", 0, None)
    for raw, seen in in_parallel(sampled(readers), look):
        if isinstance(seen, NotDecodable):
            failures.append((raw.name, str(seen)))
        else:
            looks.append(seen)
    if not looks:
        raise too_many_unreadable(part, failures, things) if failures else nothing_in(part, readers, things)
    return looks


def sampled(readers: Sequence[Readable[Raw]]) -> Iterator[Raw]:
    """Some of the examples, spread over the source, or the first ones if their number is unknown."""
    total = total_of(readers)
    if total is None:
        return islice(chain.from_iterable(reader.read() for reader in readers), _SAMPLE)
    step = max(1, -(-total // _SAMPLE))
    return chain.from_iterable(reader.read(step) for reader in readers)


def total_of(readers: Sequence[Described]) -> int | None:
    counts = [reader.count for reader in readers]
    return None if None in counts else sum(count or 0 for count in counts)


def nothing_in(part: Part, readers: Sequence[Described], things: str) -> RequestError:
    """With what the readers found instead."""
    found = "; ".join(note for reader in readers for note in reader.notes)
    return RequestError(f"there are no {things} in {part.location}" + (found and f" ({found})"))


def stop_if_too_many(part: Part, collector: Collector, total: int | None, things: str) -> None:
    """Raise RequestError once more than a tenth of `total` examples cannot be decoded."""
    if total is not None and collector.skipped > _TOLERATED * total:
        raise too_many_unreadable(part, collector.unreadable, things)


def too_many_unreadable(part: Part, failures: Sequence[tuple[str, str]], things: str) -> RequestError:
    if part.files == (Path(part.location),) and failures[0][0] == part.files[0].name:
        return RequestError(f"{part.location} cannot be decoded: {failures[0][1]}")
    return RequestError(
        f"more than a tenth of the {things} in {part.location} cannot be decoded: {listed_failures(failures)}; "
        "replace or remove them"
    )
