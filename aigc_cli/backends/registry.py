"""The installed backends: entry points of the group `aigc.backends`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from aigc_cli.backends.base import Backend
from aigc_cli.errors import AigcError

GROUP = "aigc.backends"


@cache
def backends() -> dict[str, Backend]:
    """Every installed backend by name, in alphabetical order."""
    found: dict[str, Backend] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            backend = entry.load()
        except Exception as error:
            raise AigcError(f"backend {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error
        if not isinstance(backend, Backend):
            raise AigcError(f"backend {entry.name!r} ({entry.value}) is not an aigc_cli.backends.base.Backend")
        found[entry.name] = backend
    return found
