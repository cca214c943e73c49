"""Data sets on the Hugging Face Hub, `hf:owner/name`, also `hf:owner/name:config` and `…@revision`.

They are streamed with the `datasets` library: only the tokens are stored on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from aigc_cli.errors import AigcError, RequestError


class HubName(NamedTuple):
    """The parts of `hf:owner/name:config@revision`."""

    name: str
    config: str | None
    revision: str | None


def parse(location: str) -> HubName:
    """Take `hf:owner/name[:config][@revision]` apart. Raises RequestError if it is malformed."""
    rest, _, revision = location.removeprefix("hf:").partition("@")
    name, _, config = rest.partition(":")
    if not name:
        raise RequestError(f"{location!r} does not name a data set; write hf:owner/name")
    return HubName(name, config or None, revision or None)


def find_splits(location: str) -> tuple[str, list[str]]:
    """The location with its revision (by default the current one) and the names of the splits.

    Raises RequestError for a data set or configuration that does not exist, AigcError without a connection.
    """
    from huggingface_hub import HfApi

    hub = parse(location)
    with explained(location):
        revision = HfApi().dataset_info(hub.name, revision=hub.revision).sha
        names = quiet_datasets().get_dataset_split_names(hub.name, hub.config, revision=revision)
    config = f":{hub.config}" if hub.config else ""
    return f"hf:{hub.name}{config}@{revision}", list(names)


def stream(location: str, split: str) -> Any:
    """The split as a streaming `datasets.IterableDataset`."""
    hub = parse(location)
    return quiet_datasets().load_dataset(hub.name, hub.config, split=split, revision=hub.revision, streaming=True)


def quiet_datasets() -> Any:
    """The `datasets` module, with its progress bars and messages off: users should only see ours."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    return datasets


@contextmanager
def explained(location: str) -> Iterator[None]:
    """Turn the many exceptions of a download into one line for the user."""
    try:
        yield
    except AigcError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        # For wrong names the libraries raise subclasses of ValueError and FileNotFoundError.
        kind = RequestError if isinstance(error, ValueError | FileNotFoundError) else AigcError
        raise kind(f"cannot read {location}: {reason}") from error
