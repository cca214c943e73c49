"""A verb's options as one dataclass: the single source of its flags, help, TOML keys, validation and what a run records.

A field is declared with `option`, its help is the docstring under it:

    @dataclass(frozen=True)
    class Sample(SampleOptions):
        temperature: float = option(1.0, min=0)
        \"\"\"Below 1, samples are safer; above 1, more surprising; 0 always picks the likeliest token.\"\"\"

Fields may be `int`, `float`, `str`, `bool`, a `Literal` of strings or integers, `tuple[str, ...]` (a repeatable flag) or
`tuple[str, str]` (a flag of two values); with `| None`, None means "decided by the program".
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import json
import math
import os
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, Union

from aigc_cli.errors import RequestError
from aigc_cli.files import user_path

T = TypeVar("T")

#: A run, a column of the data, or several with commas between them.
Names: TypeAlias = Literal["run", "column", "columns"]

MAIN, MORE, EXPERT = "Main options", "More options", "Advanced"


@dataclass(frozen=True)
class Rule:
    """What an option's value must satisfy and how its help shows it."""

    min: float | None = None
    max: float | None = None
    above: float | None = None
    unit: str = ""
    auto: str = ""
    metavar: str = ""
    panel: str = MAIN
    env: str = ""
    short: str = ""
    recorded: bool = True
    argument: bool = False
    names: Names | None = None
    aliases: tuple[str, ...] = ()
    text: bool = False


def option(
    default: Any,
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    unit: str = "",
    auto: str = "",
    metavar: str = "",
    panel: str = MAIN,
    env: str = "",
    short: str = "",
    recorded: bool = True,
    argument: bool = False,
    names: Names | None = None,
    aliases: tuple[str, ...] = (),
    text: bool = False,
) -> Any:
    """A dataclass field that is a command-line option.

    `min` and `max` are inclusive bounds and `above` an exclusive lower one; `auto` tells in help what None means;
    `env` is a shorter alternative to the variable AIGC_<FLAG>; `recorded=False` keeps the option out of run.json;
    `argument=True` makes it a positional argument; `names` says what its value names, for shell completion. `aliases` are
    earlier names, as Python writes them, which keep working: as flags that help does not show, as variables, as keys of
    TOML and of runs. `text=True`: it is text, and not the name of a file, which may be any bytes.
    """
    rule = Rule(min, max, above, unit, auto, metavar, panel, env, short, recorded, argument, names, aliases, text)
    return dataclasses.field(default=default, metadata={"rule": rule})


@dataclass(frozen=True)
class OptionField:
    """One option as the command line, the environment and TOML see it."""

    name: str
    type: Any  # int, float, str, bool, Literal[...], tuple[str, ...] or tuple[str, str], without "| None"
    default: Any
    rule: Rule
    help: str
    optional: bool  # whether it may be None

    @property
    def flag(self) -> str:
        return flag(self.name)

    @property
    def env(self) -> str:
        return self.rule.env or variable(self.name)

    @cached_property
    def spellings(self) -> tuple[str, ...]:
        """Its earlier names, and its name."""
        return (*self.rule.aliases, self.name)

    @cached_property
    def variables(self) -> list[str]:
        """The environment variables that set it, the one that wins last."""
        return list(dict.fromkeys([*map(variable, self.spellings), self.env]))

    @property
    def choices(self) -> tuple[Any, ...]:
        return typing.get_args(self.type) if typing.get_origin(self.type) is Literal else ()

    @property
    def pair(self) -> bool:
        return bool(self.type == tuple[str, str])

    @property
    def repeated(self) -> bool:
        return typing.get_origin(self.type) is tuple and not self.pair

    def check(self, value: Any, where: str) -> Any:
        """`value` as this option's type, or a RequestError that says `where` it came from."""
        if value is None:
            return None
        if self.repeated or self.pair:
            items = list(value) if isinstance(value, list | tuple) else [value]
            if not all(isinstance(item, str) for item in items):
                raise RequestError(f"{where} must be a list of strings, not {value!r}")
            if self.pair and len(items) != 2:
                raise RequestError(f"{where} must be two strings, not {len(items)}")
            return tuple(self._in_utf8(item, where) for item in items)
        if self.choices:
            matches = [choice for choice in self.choices if str(choice) == str(value)]
            if not matches:
                hint = did_you_mean(str(value), map(str, self.choices))
                raise RequestError(f"{where} must be one of {', '.join(map(str, self.choices))}, not {value!r}{hint}")
            return matches[0]
        return self._in_range(self._converted(value, where), where)

    def _converted(self, value: Any, where: str) -> Any:
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}[self.type]
        try:
            if self.type is bool:
                return (
                    value
                    if isinstance(value, bool)
                    else {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]
                )
            if self.type is str and isinstance(value, str | int | float) and not isinstance(value, bool):
                return self._in_utf8(str(value), where)
            if self.type in (int, float) and not isinstance(value, bool):
                number = float(value)
                if self.type is float and math.isfinite(number):
                    return number
                if self.type is int and number == int(number):
                    return int(value) if isinstance(value, int | str) else int(number)
        except (ValueError, KeyError, OverflowError, TypeError):
            pass
        raise RequestError(f"{where} must be {wanted}, not {value!r}")

    def _in_utf8(self, value: str, where: str) -> str:
        """`value`, unless it is text with half a surrogate pair, by which Python stands for a byte that isn't UTF-8, or a name
        with a null character."""
        if "\0" in value and not self.rule.text:
            raise RequestError(f"{where} holds a null character, which no name does")
        at = next((at for at, char in enumerate(value) if "\ud800" <= char <= "\udfff"), None) if self.rule.text else None
        if at is None:
            return value
        what = f"byte 0x{ord(value[at]) - 0xDC00:02X}" if value[at] >= "\udc80" else "half a surrogate pair"
        hint = "; write it to a file and give @FILE" if "@FILE" in self.rule.metavar else ""
        raise RequestError(f"{where} is not UTF-8: {what} after {at:,} characters{hint}")

    def _in_range(self, value: Any, where: str) -> Any:
        rule, unit = self.rule, f" {self.rule.unit}" if self.rule.unit else ""
        if rule.above is not None and not value > rule.above:
            raise RequestError(f"{where} must be above {rule.above:g}{unit}, not {value!r}")
        if rule.min is not None and value < rule.min:
            raise RequestError(f"{where} must be at least {rule.min:g}{unit}, not {value!r}")
        if rule.max is not None and value > rule.max:
            raise RequestError(f"{where} must be at most {rule.max:g}{unit}, not {value!r}")
        return value


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The variable that every option has, even if it also has a shorter one."""
    return "AIGC_" + name.upper()


def fields_of(options: type) -> dict[str, OptionField]:
    """The options of a dataclass in order, those of its base classes first."""
    if options in _FIELDS:
        return _FIELDS[options]
    docs: dict[str, str] = {}
    for base in reversed(options.__mro__):
        docs |= _docstrings(base.__module__).get(base.__name__, {})
    hints = typing.get_type_hints(options)
    found = {}
    for field in dataclasses.fields(options):
        if (rule := _rule_of(options, field.name)) is not None:
            kind = _without_none(hints[field.name])
            optional = kind is not hints[field.name]
            found[field.name] = OptionField(field.name, kind, field.default, rule, docs.get(field.name, ""), optional)
    _FIELDS[options] = found
    return found


def _rule_of(options: type, name: str) -> Rule | None:
    """The rule of a field where it was declared: a subclass may narrow its type by an annotation alone."""
    for base in options.__mro__:
        field = base.__dict__.get("__dataclass_fields__", {}).get(name)
        if field is not None and "rule" in field.metadata:
            rule: Rule = field.metadata["rule"]
            return rule
    return None


_FIELDS: dict[type, dict[str, OptionField]] = {}


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Class name -> field name -> the docstring under the field."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError):
        return {}
    docs: dict[str, dict[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            docs[node.name] = {
                field.target.id: inspect.cleandoc(text.value.value).replace("\n", " ")
                for field, text in pairwise(node.body)
                if isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            }
    return docs


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (Union, types.UnionType):
        (hint,) = [arm for arm in typing.get_args(hint) if arm is not type(None)]
    return hint


@dataclass(frozen=True)
class Given:
    """A value that the user gave, and where: a flag, a variable, or a key of a file."""

    value: Any
    where: str


def gather(options: type, flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Given]:
    """Every value that the user gave, by precedence: flag, environment, `--config` file. Absent ones keep their defaults."""
    fields = fields_of(options)
    given: dict[str, Given] = {}
    config = flags.get("config") or environ.get("AIGC_CONFIG")
    if config:
        settings = read_config(Path(config), fields, getattr(options, "earlier", {}))
        for field in fields.values():
            _take(given, field, lambda key: f"key {key!r} in {config}", settings)
    for name, field in fields.items():
        for variable in field.variables:
            if environ.get(variable, "") != "":
                given[name] = Given(field.check(environ[variable], variable), variable)
        _take(given, field, flag, flags)
    return given


def _take(given: dict[str, Given], field: OptionField, place: Callable[[str], str], values: Mapping[str, Any]) -> None:
    """Notes what an option was given under any of its names, with the `place` where each is spelled. RequestError for two."""
    spellings = [spelling for spelling in field.spellings if values.get(spelling) not in (None, (), [])]
    found = [Given(field.check(values[spelling], place(spelling)), place(spelling)) for spelling in spellings]
    if len(found) > 1:
        raise RequestError(f"{found[0].where} and {found[1].where} are the same option; give only one of them")
    if found:
        given[field.name] = found[0]


def build(options: type[T], given: Mapping[str, Given]) -> T:
    return options(**{name: item.value for name, item in given.items()})


def read_config(path: Path, fields: Mapping[str, OptionField], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a flat TOML file, or the plan of a run's run.json (which repeats that run). `earlier` is what plans of
    earlier versions meant that don't record these settings."""
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"--config {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"--config {path} is not valid {path.suffix.lstrip('.') or 'TOML'}: {error}") from None
    settings = document.get("plan", document) if isinstance(document, dict) else None
    if not isinstance(settings, dict):
        raise RequestError(f"--config {path} must hold settings by name")
    if settings is not document:
        settings = {**earlier, **located(settings, path.parent)}
    settings = {key.replace("-", "_"): value for key, value in settings.items()}
    known = {spelling for field in fields.values() for spelling in field.spellings}
    for key in settings:
        if key not in known:
            raise RequestError(f"unknown key {key!r} in {path}{did_you_mean(key, fields)}")
    return {key: value for key, value in settings.items() if value is not None}


def recorded(options: Any) -> dict[str, Any]:
    """The options that a run records, JSON-ready."""
    fields = fields_of(type(options))
    return {name: getattr(options, name) for name, field in fields.items() if field.rule.recorded}


#: What a run may keep a copy of in its own folder, and the beginning of that copy's name.
KEPT = {"data": "input", "location": "input", "init_from": "init"}


def portable(settings: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """Settings for run.json: the copies that the run keeps are named relative to its folder, which may be moved."""
    folder = run.absolute()
    paths = {name: Path(value) for name in KEPT if isinstance(value := settings.get(name), str)}
    return {**settings, **{name: path.name for name, path in paths.items() if path.parent == folder}}


def located(settings: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """Settings from run.json, with the copies that the run keeps where they are now. (Versions before 0.2 named them by where
    they were then.)"""
    found = dict(settings)
    for name, beginning in KEPT.items():
        if isinstance(value := settings.get(name), str) and Path(value).name.partition(".")[0] == beginning:
            copy = run.absolute() / Path(value).name
            if value == copy.name or (copy.exists() and not Path(value).exists()):
                found[name] = str(copy)
    return found


def undecided(options: Any) -> list[str]:
    """The options that are None where their type has no None."""
    return [name for name, field in fields_of(type(options)).items() if not field.optional and getattr(options, name) is None]


def rebuild(options: type[T], settings: Mapping[str, Any]) -> T:
    """Options from what `recorded` returned, after a round trip through JSON."""
    fields, found = fields_of(options), renamed(options, settings)
    return options(**{name: fields[name].check(value, name) for name, value in found.items() if name in fields})


def renamed(options: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run recorded, with the earlier names of options replaced by the present ones."""
    present = {alias: field.name for field in fields_of(options).values() for alias in field.rule.aliases}
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = present.get(key, key)
        if found.get(name) is None:  # a run of an earlier version may have both, one of them open
            found[name] = value
    return found


def absolute(source: str | None) -> str | None:
    """A source that means the same from any working directory; '-', hf:…, demo:… and addresses are left as they are."""
    if source is None or source == "-" or source.startswith(("hf:", "demo:")) or "://" in source:
        return source
    return os.path.abspath(user_path(source))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The closest known name, as the end of a sentence; empty if none is close."""
    names = {name.lstrip("-"): name for name in known}  # two dashes in common are no similarity
    close = difflib.get_close_matches(word.lstrip("-"), list(names), n=1, cutoff=0.6)
    return f"; did you mean {names[close[0]]!r}?" if close else ""
