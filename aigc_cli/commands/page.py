"""The content of a run's page, from the run and from evaluating it."""

from __future__ import annotations

import re
import shlex
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from aigc_cli import __version__
from aigc_cli.backends.base import Backend, Evaluation
from aigc_cli.backends.registry import backends
from aigc_cli.commands.destinations import kind_of
from aigc_cli.data.kinds import Kind
from aigc_cli.engine.events import Bus
from aigc_cli.engine.meanings import Meanings
from aigc_cli.engine.runs.run import RESUMABLE, Run, read_metrics
from aigc_cli.errors import AigcError
from aigc_cli.options import fields_of, renamed
from aigc_cli.ui.report import FilmFrame, Measured, Origin, Picture, Player, Report, Setting, in_table, player, png

#: The most previews on the page, in number and in bytes.
MAX_FRAMES, MAX_BYTES = 40, 6 << 20
#: The most samples to listen to.
MAX_PLAYERS = 12
#: The most characters of a text preview.
MAX_TEXT = 5000


def gather(run: Run, bus: Bus, *, evaluate: bool, seed: int, device: str, debug: bool) -> Report:
    """Everything on the page; with `evaluate`, also what `aigc eval` finds on `device`."""
    backend = backends().get(run.backend)
    measured, reason = _measured(run, backend, seed, device, debug, bus) if evaluate else (None, "--no-eval was given.")
    frames, left_out = _frames(run)
    kind = _kind(run, backend)
    return Report(
        name=run.name,
        status=run.status,
        summary=backend.summary if backend else "",
        record=run.record,
        metrics=read_metrics(run),
        frames=frames,
        frames_left_out=left_out,
        players=_players(run, kind) if kind else (),
        meanings=backend.meanings.said_of(kind.one if kind else "") if backend else Meanings(),
        measured=measured,
        not_measured=reason,
        settings=_settings(run, backend),
        commands=_commands(run, backend),
        written=f"Written by aigc {__version__} on {time.strftime('%d %B %Y')}, from a run of {run.record['created'][:10]}.",
    )


def _measured(run: Run, backend: Backend | None, seed: int, device: str, debug: bool, bus: Bus) -> tuple[Measured | None, str]:
    """What `aigc eval` finds with its default settings; or None, and why."""
    kind = backend.options.get("eval") if backend else None
    if backend is None or kind is None:
        return None, f"the {run.backend} backend {'is not installed' if backend is None else 'has no eval'}."
    if device != "auto":
        from aigc_cli.engine.device import named_device

        named_device(device)  # a missing device is a wrong request, not a property of the run
    fields = fields_of(kind)
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "copies.png"
        wanted: dict[str, Any] = {"run": str(run.path), "seed": seed, "device": device, "copies": str(sheet)}
        try:
            run.require_model()
            run.tell(bus)
            asked = kind(**{name: value for name, value in wanted.items() if name in fields})
            evaluation = backend.load().evaluate(run, asked, bus)
        except Exception as error:  # whatever is wrong with the data or the model, the rest of the page is still right
            return None, _why_not(error, debug, bus)
        return _found(evaluation, png(sheet.read_bytes()) if sheet.is_file() else None), ""


def _why_not(error: Exception, debug: bool, bus: Bus) -> str:
    if debug:
        traceback.print_exception(error)
    reason = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, AigcError):
        reason = f"{type(error).__name__}: {reason}"
    bus.note(f"not measured: {reason}", "warning")
    return reason


def _found(evaluation: Evaluation, copies: Picture | None) -> Measured:
    examples = [{title: in_table(content) for title, content in of.items()} for of in evaluation.examples]
    return Measured(evaluation.data, evaluation.measures, evaluation.notes, copies, examples)


def _frames(run: Run) -> tuple[list[FilmFrame], int]:
    """The run's previews in order, evenly thinned if they are many or large, and how many were left out. Links are skipped: a
    stranger's run shows only its own files."""
    found = {
        int(match[1]): path
        for path in ([] if run.samples.is_symlink() else run.samples.glob("step-*"))
        if (match := re.fullmatch(r"step-(\d+)\.(png|txt)", path.name)) and path.is_file() and not path.is_symlink()
    }
    steps = sorted(step for step, path in found.items() if 0 < path.stat().st_size <= MAX_BYTES)
    if not steps:
        return [], 0
    largest = max(found[step].stat().st_size for step in steps)
    chosen = _evenly(steps, max(1, min(MAX_FRAMES, MAX_BYTES // largest)))
    frames = (_frame(step, found[step]) for step in chosen)
    shown = [frame for frame in frames if frame is not None]
    return shown, len(steps) - len(shown)


def _frame(step: int, path: Path) -> FilmFrame | None:
    content = path.read_bytes()
    if path.suffix == ".txt":
        text = content.decode("utf-8", "replace")
        return FilmFrame(step, text=text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …")
    picture = png(content)
    return None if picture is None else FilmFrame(step, picture)


def _kind(run: Run, backend: Backend | None) -> Kind | None:
    """The kind of the run's samples; None if that isn't known here."""
    try:
        return kind_of(run, backend) if backend else None
    except AigcError:
        return None


def _players(run: Run, kind: Kind) -> list[Player]:
    """The first samples of the last preview, if its kind makes sounds of them."""
    from aigc_cli.ui.preview import GAP, read_pixels, split_sheet

    example = kind.example(run.record.get("data") or {})
    sheets = sorted(run.samples.glob("step-*.png"), key=lambda path: int(re.sub(r"\D", "", path.stem) or 0))
    linked = run.samples.is_symlink() or any(sheet.is_symlink() for sheet in sheets[-1:])
    if example is None or kind.player(example) is None or not sheets or linked:
        return []
    try:
        pixels = read_pixels(sheets[-1])
    except (OSError, ValueError, SyntaxError):  # pillow's for a damaged file
        return []
    rows, columns = ((side + GAP) // (of + GAP) for side, of in zip(pixels.shape, example.shape[:2], strict=False))
    found, left = list[Player](), MAX_BYTES
    for sample in split_sheet(pixels, rows, columns)[:MAX_PLAYERS] if rows and columns else []:
        if sample.shape != example.shape or (made := kind.player(sample)) is None:
            return []
        left -= len(made[1])
        drawn = player(*made, kind.sheet([sample], 1, ".png").content) if left >= 0 else None
        found += [drawn] if drawn else []
    return found


def _evenly(steps: list[int], most: int) -> list[int]:
    """At most `most` of them, with the last and, if there are at least two, the first."""
    if len(steps) <= most:
        return steps
    last = len(steps) - 1
    return [steps[last - round(i * last / max(1, most - 1))] for i in reversed(range(most))]


def _settings(run: Run, backend: Backend | None) -> list[Setting]:
    """Every setting with a value: those given by the user, those decided by the program, and the defaults."""
    asked, plan = ({**(run.record.get(key) or {})} for key in ("asked", "plan"))
    fields = fields_of(backend.options["train"]) if backend else {}
    if backend:
        asked, plan = (renamed(backend.options["train"], settings) for settings in (asked, plan))
    found = []
    for name in dict.fromkeys([*plan, *asked]):
        want, have = asked.get(name), plan.get(name)
        if want is None and have is None:
            continue
        field = fields.get(name)
        origin = _origin(want, have, field.default if field else None)
        value = have if have is not None else want
        found.append(Setting("--" + name.replace("_", "-"), _in_words(value), origin, field.help if field else ""))
    return found


def _origin(asked: Any, planned: Any, default: Any) -> Origin:
    if asked is None or (asked == default and planned not in (None, asked)):
        return "decided"
    return "default" if asked == default else "given"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _commands(run: Run, backend: Backend | None) -> list[tuple[str, str]]:
    """Commands to resume the run, to use its model and to repeat it: (what for, command)."""
    name = shlex.quote(run.backend)  # a stranger's run may say anything
    found = []
    if run.status in RESUMABLE:
        found.append(("Resume it:", run.resume_command))
    verbs = backend.options if backend else {}
    if "sample" in verbs:
        found.append(("Sample from it:", f"aigc sample {name} --run {run.reference} {run.first_sample} --seed 0"))
    if "eval" in verbs:
        found.append(("Evaluate it:", f"aigc eval {name} --run {run.reference} --seed 0"))
    again = re.sub(r"[^\w.+-]+", "-", run.name).strip("-.") or "run"
    config = shlex.quote(str(run.path / "run.json"))
    found.append(("Train it again with the same plan:", f"aigc train {name} --config {config} --run {again}-again"))
    return found
