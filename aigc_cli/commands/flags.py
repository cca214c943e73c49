"""From an options dataclass to a Typer command: flags, help and dispatch, with the given values and where they came from."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_origin

import typer

from aigc_cli.backends.registry import backends
from aigc_cli.commands.completion import Completer, completer
from aigc_cli.data.kinds import WrongKind
from aigc_cli.engine.settings import OUTPUT
from aigc_cli.errors import PipeClosed, RequestError
from aigc_cli.options import EXPERT, MAIN, MORE, Given, OptionField, fields_of, flag, gather

Run = Callable[[Mapping[str, Given]], None]


def command(options: type, run: Run, name: str, help: str, backend: str | None = None) -> Callable[..., None]:
    """A function whose signature Typer reads as the flags of `options`. Flags default to None, so that those given can be told
    apart from environment, file and defaults. Completion offers the runs of `backend`, or of all backends."""

    def call(**flags: Any) -> None:
        answer(run, gather(options, flags))

    completing = "_AIGC_COMPLETE" in os.environ  # slow to prepare
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for field in sorted(fields_of(options).values(), key=_panel_rank)
        for name, annotation in [
            (field.name, _annotation(field, completer(options, field, backend) if completing else None)),
            *((alias, _hidden(field, alias)) for alias in field.rule.aliases),
        ]
    ]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__name__, call.__doc__ = name, help
    return call


def answer(run: Run, given: Mapping[str, Given]) -> None:
    try:
        run(given)
    except BrokenPipeError:  # otherwise the parser handles it as its own failure
        raise PipeClosed from None
    except WrongKind as error:
        able = [name for name, backend in backends().items() if error.kind in backend.kinds and "train" in backend.options]
        learners = " or ".join(f"'aigc train {name}'" for name in able)
        raise RequestError(f"{error}: {learners} learns from {error.kind}" if able else str(error)) from error


def _panel_rank(field: OptionField) -> int:
    """Help shows panels in the order in which they first occur: main options, those of the backend, then the rest."""
    return {MAIN: 0, MORE: 2, OUTPUT: 3, EXPERT: 4}.get(field.rule.panel, 1)


def _annotation(field: OptionField, complete: Completer | None) -> Any:
    if field.rule.argument:
        argument = typer.Argument(metavar=field.rule.metavar, help=field.help, show_default=False, autocompletion=complete)
        return Annotated[list[str] | None, argument] if field.repeated else Annotated[str | None, argument]
    names = [field.flag] if field.rule.short == "" else [field.flag, field.rule.short]
    if field.type is bool and (field.default is None or field.default is True):
        names[0] = f"{field.flag}/--no-{field.flag[2:]}"
    return Annotated[
        _kind(field) | None,
        typer.Option(
            *names,
            help=_help(field),
            metavar=_metavar(field),
            show_default=_default(field),
            rich_help_panel=field.rule.panel,
            autocompletion=complete,
        ),
    ]


def _hidden(field: OptionField, alias: str) -> Any:
    """An option by an earlier name."""
    return Annotated[_kind(field) | None, typer.Option(flag(alias), hidden=True)]


def _kind(field: OptionField) -> Any:
    """The type of a flag's value, as Typer parses it."""
    if field.repeated:
        return list[str]
    if field.pair:
        return tuple[str, str]
    return str if get_origin(field.type) is Literal else field.type


def _help(field: OptionField) -> str:
    rule = field.rule
    bounds = [
        f"above {rule.above:g}" if rule.above is not None else "",
        f"at least {rule.min:g}" if rule.min is not None and rule.min > 0 else "",
        f"at most {rule.max:g}" if rule.max is not None and rule.max < 2**31 else "",
    ]
    stated = ", ".join(part for part in [rule.unit, *bounds] if part)
    return field.help + (f" ({stated})" if stated else "")


def _metavar(field: OptionField) -> str | None:
    if field.type is bool:
        return None
    names = {int: "N", float: "X", str: "TEXT"}
    return field.rule.metavar or "|".join(map(str, field.choices)) or names.get(field.type, "TEXT")


def _default(field: OptionField) -> str | bool:
    if field.default in (None, ()):
        return field.rule.auto or False
    return False if field.default is False else str(field.default)


def add_verb(
    app: typer.Typer, verb: str, help: str, run: Callable[[str, Mapping[str, Given]], None], only: str | None = None
) -> None:
    """`aigc VERB BACKEND`: a subcommand for every backend, or only for the one needed. A backend without the verb says so."""
    group = typer.Typer(help=help, no_args_is_help=True)
    for name, backend in backends().items():
        if only in backends() and name != only:
            continue
        options = backend.options.get(verb)
        if options is None:
            group.command(name, hidden=True, context_settings={"ignore_unknown_options": True})(_lacking(verb, name))
        else:
            call = command(options, _bound(run, name), f"{verb}_{name}", f"{help} {backend.summary}", name)
            group.command(name)(call)
    app.add_typer(group, name=verb)


def _bound(run: Callable[[str, Mapping[str, Given]], None], name: str) -> Run:
    return lambda given: run(name, given)


def _lacking(verb: str, name: str) -> Callable[..., None]:
    def refuse(arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
        able = [other for other, backend in backends().items() if verb in backend.options]
        raise RequestError(f"the {name} backend has no {verb!r}; these have: {', '.join(able) or 'none'}")

    return refuse
