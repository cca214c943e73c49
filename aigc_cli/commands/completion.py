"""Shell completion of option values: choices, runs and columns of the data. Without any, the shell offers files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import typer

from aigc_cli.engine.runs.finding import list_runs
from aigc_cli.engine.runs.run import age
from aigc_cli.options import OptionField, build, gather
from aigc_cli.ui.text import printable, span

Offer: TypeAlias = tuple[str, str]
"""A value, and the help that zsh and fish show beside it."""
#: Values that need no quoting in a shell: names of columns and folders may come from strangers.
_PLAIN = re.compile(r"[\w.,+-]+\Z")
Completer: TypeAlias = Callable[[typer.Context, str], list[Offer]]


def completer(options: type, field: OptionField, backend: str | None) -> Completer:
    """The function Typer calls to complete a value of `field`, with the flags so far and the beginning of the value."""

    def complete(context: typer.Context, incomplete: str) -> list[Offer]:
        with suppress(Exception):  # the shell would show errors in the middle of the line
            offers = _offers(field, options, context.params, backend, incomplete)
            return [(value, printable(help)) for value, help in offers if value.startswith(incomplete) and _PLAIN.match(value)]
        return []

    return complete


def _offers(
    field: OptionField, options: type, flags: Mapping[str, Any], backend: str | None, incomplete: str
) -> Iterable[Offer]:
    """Every known value."""
    if not field.rule.names:
        return ((word, "") for word in _words(field))
    asked: Any = build(options, gather(options, flags))
    if field.rule.names == "run":
        return _runs(asked, backend, getattr(asked, field.name))
    return _columns(asked, incomplete if field.rule.names == "columns" else "")


def _words(field: OptionField) -> list[str]:
    """The choices, or the words of the metavar that are not placeholders."""
    if field.choices:
        return [str(choice) for choice in field.choices]
    return [word for word in field.rule.metavar.split("|") if word.islower()]


def _runs(asked: Any, backend: str | None, named: Any) -> Iterable[Offer]:
    for run in list_runs(Path(asked.runs_dir), backend):
        if not (isinstance(named, tuple) and run.name in named):
            yield run.name, f"{run.backend}, {run.status}, {span(age(run))} old"


def _columns(asked: Any, begun: str) -> Iterable[Offer]:
    """The columns of --data; for a comma-separated list, those it doesn't have yet."""
    from aigc_cli.data.tables.table import column_names

    *before, _ = begun.split(",")
    for name in column_names(asked.data):
        if name not in before:
            yield ",".join([*before, name]), ""
