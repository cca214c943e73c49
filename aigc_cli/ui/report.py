"""A run as a self-contained HTML page: no network, no other files, and no script but its own.

Everything that comes from data, names or settings is made printable and escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from aigc_cli.engine.meanings import Meanings
from aigc_cli.ui.curves import HEIGHT, WIDTH, Curves, number
from aigc_cli.ui.report_tables import facts, legend, rows, splits, understood
from aigc_cli.ui.text import duration, printable

if TYPE_CHECKING:
    from jinja2 import Template

PAGE = Path(__file__).parent / "page"
#: The maximum width of a picture in CSS pixels; small ones are enlarged by an integer factor.
MAX_WIDTH = 620
MAX_WIDTH_OF_PLAYER = 200
#: The same of a picture in a table.
MAX_WIDTH_IN_TABLE = 128
#: The most characters of a text in a table.
MAX_TEXT_IN_TABLE = 500
#: Facts about the data that `understood` has too. Earlier versions don't record that.
UNDERSTOOD = ("files", "columns", "read_as", "classes", "dropped", "unreadable")
Origin: TypeAlias = Literal["given", "decided", "default"]
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG for the page, and its size there."""

    source: str
    width: int
    height: int
    enlarged: bool


@dataclass(frozen=True)
class FilmFrame:
    """A preview of the model at a step: a picture or a text."""

    step: int
    picture: Picture | None = None
    text: str = ""


@dataclass(frozen=True)
class Player:
    """A sample to listen to, and how it looks."""

    source: str
    picture: Picture


@dataclass(frozen=True)
class Setting:
    """One setting, where its value comes from, and what it does."""

    flag: str
    value: str
    origin: Origin
    help: str = ""


@dataclass(frozen=True)
class Measured:
    """The result of evaluating a run, and the data it was evaluated on."""

    data: str
    measures: Mapping[str, Mapping[str, Any]]
    notes: Sequence[str] = ()
    copies: Picture | None = None
    examples: Sequence[Mapping[str, Picture | str]] = ()
    """Unseen examples with what the model makes of them: pictures and texts by the same titles."""


@dataclass(frozen=True)
class Report:
    """Everything on a run's page."""

    name: str
    status: str
    summary: str
    record: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    frames: Sequence[FilmFrame]
    measured: Measured | None
    not_measured: str
    """Why `measured` is None."""
    settings: Sequence[Setting]
    commands: Sequence[tuple[str, str]]
    """Commands to type next: (what for, command)."""
    written: str
    frames_left_out: int = 0
    players: Sequence[Player] = ()
    """Samples of the last preview, if they can be heard."""
    meanings: Meanings = field(default_factory=Meanings)
    """What its measures mean: its backend's."""


@dataclass(frozen=True)
class _Shown:
    """A frame with its caption, and its x in the charts."""

    frame: FilmFrame
    caption: str
    x: float


def png(content: bytes, max_width: int = MAX_WIDTH) -> Picture | None:
    """A PNG file for the page; None for any other file."""
    if not content.startswith(_PNG) or len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    if not width or not height:
        return None
    factor = max(1, max_width // width)
    source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return Picture(source, width * factor, height * factor, factor > 1)


def player(media_type: str, content: bytes, picture: bytes) -> Player | None:
    """A sound for the page, with the PNG that shows it."""
    drawn = png(picture, MAX_WIDTH_OF_PLAYER)
    return None if drawn is None else Player(f"data:{media_type};base64," + base64.b64encode(content).decode("ascii"), drawn)


def in_table(content: str | bytes) -> Picture | str:
    """A text, or the content of a PNG file, for a table; long texts are cut."""
    if isinstance(content, str):
        return content if len(content) <= MAX_TEXT_IN_TABLE else content[:MAX_TEXT_IN_TABLE] + " …"
    return png(content, MAX_WIDTH_IN_TABLE) or ""


def render(report: Report) -> str:
    """The page."""
    from markupsafe import Markup

    style, script = (Markup((PAGE / name).read_text(encoding="utf-8")) for name in ("style.css", "film.js"))
    data = _mapping(report.record.get("data"))
    shown = ("splits", "understood", *(UNDERSTOOD if data.get("understood") else ()))
    curves = Curves(report.metrics, _best(report.record), report.meanings)
    return _template().render(
        report=report,
        style=style,
        script=script,
        policy=_policy(style, script),
        head=_head(report),
        film=_film(report, curves),
        charts=curves.charts(),
        chart_size=(WIDTH, HEIGHT),
        happenings=curves.happenings(),
        rows=rows(report.measured.measures, report.meanings) if report.measured else [],
        legend=legend(report.measured.measures, report.meanings) if report.measured else [],
        reasons=report.record.get("reasons") or [],
        splits=splits(data.get("splits")),
        understood=understood(data.get("understood")),
        data=facts({name: value for name, value in data.items() if name not in shown}),
        versions=facts(_mapping(report.record.get("versions"))),
    )


@cache
def _template() -> Template:
    """The page's template, which takes 0.1 s to compile."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # takes 0.2 s to import
    from markupsafe import Markup

    def finish(value: Any) -> Any:
        return value if isinstance(value, Markup) else printable(str(value), keep="\n\t")

    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        finalize=finish,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html")


def _policy(style: str, script: str) -> str:
    """A content security policy that fetches nothing and runs nothing but the page's own script."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{digests[0]}'; "
        f"script-src 'sha256-{digests[1]}'; base-uri 'none'; form-action 'none'"
    )


def _head(report: Report) -> list[tuple[str, str, str]]:
    """The facts at the top of the page: name, value and a remark."""
    record, found = report.record, []
    if isinstance(steps := record.get("steps"), int):
        seconds = record.get("seconds")
        found.append(("Steps", number(steps), f"in {duration(seconds)}" if isinstance(seconds, int | float) else ""))
    for name, value in _best(record).items():
        if name != "step" and isinstance(value, int | float):
            best = f"while training, best at step {number(_best(record).get('step'))}"
            found.append((report.meanings.of(name).title, number(value), best))
    data = _mapping(record.get("data"))
    parts = _mapping(data.get("splits")).get("train")
    counts = [f"{number(count)} {unit}" for unit, count in _mapping(parts).items()]
    if data.get("location"):
        found.append(("Trained on", Path(str(data["location"])).name or str(data["location"]), counts[0] if counts else ""))
    if record.get("device"):
        place, _, more = str(record["device"]).partition(" ")
        found.append(("Device", place, more.strip("()")))
    return found


def _film(report: Report, curves: Curves) -> list[_Shown]:
    return [_Shown(each, curves.told_at(each.step), curves.x(each.step)) for each in report.frames]


def _best(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(record.get("best"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
