"""Data sets of the Hugging Face hub, `hf:owner/name`, also `hf:owner/name:config` and `…@revision`.

They are streamed with the `datasets` library: nothing is kept on the disk but the tokens made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from aigc_cli.errors import AigcError, RequestError


class HubName(NamedTuple):
    """The parts of `hf:owner/name:config@revision`."""

    name: str
    config: str | None
    revision: str | None


def parse(location: str) -> HubName:
    """Take `hf:owner/name[:config][@revision]` apart. Raises RequestError when it names nothing."""
    rest, _, revision = location.removeprefix("hf:").partition("@")
    name, _, config = rest.partition(":")
    if not name:
        raise RequestError(f"{location!r} names no data set; write hf:owner/name")
    return HubName(name, config or None, revision or None)


def find_splits(location: str) -> tuple[str, list[str]]:
    """The location with its revision (the present one, when none is given) and the names of the splits.

    Raises RequestError for a data set or configuration that does not exist, AigcError without a connection.
    """
    from datasets import get_dataset_split_names
    from huggingface_hub import HfApi

    hub = parse(location)
    with _Explained(location):
        revision = HfApi().dataset_info(hub.name, revision=hub.revision).sha
        names = get_dataset_split_names(hub.name, hub.config, revision=revision)
    config = f":{hub.config}" if hub.config else ""
    return f"hf:{hub.name}{config}@{revision}", list(names)


def stream(location: str, split: str) -> Any:
    """The split as a streaming `datasets.IterableDataset`."""
    datasets = quiet_datasets()
    hub = parse(location)
    with _Explained(location):
        return datasets.load_dataset(hub.name, hub.config, split=split, revision=hub.revision, streaming=True)


def quiet_datasets() -> Any:
    """The `datasets` module, its progress bars and messages off: what a user reads is ours to say."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    return datasets


def explained(rows: Iterator[str], location: str) -> Iterator[str]:
    """The same rows; a failure while streaming becomes one line for the user."""
    with _Explained(location):
        yield from rows


class _Explained:
    """A context that turns the many exceptions of a download into one line for the user."""

    def __init__(self, location: str) -> None:
        self.location = location

    def __enter__(self) -> None:
        quiet_datasets()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, AigcError):
            return
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        # For wrong names the libraries raise subclasses of ValueError and FileNotFoundError.
        kind_of = RequestError if isinstance(error, ValueError | FileNotFoundError) else AigcError
        raise kind_of(f"cannot read {self.location}: {reason}") from error
