"""The command line: `aigc VERB BACKEND`, errors as one line, exit codes."""

from __future__ import annotations

import atexit
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from aigc_cli import __version__
from aigc_cli.backends.registry import backends
from aigc_cli.commands import decode, doctor, encode, report, runs, sample, train
from aigc_cli.commands import eval as eval_command
from aigc_cli.commands.flags import add_verb
from aigc_cli.engine.processes.launch import follows, tell_launcher
from aigc_cli.engine.signals import ending_tidily
from aigc_cli.errors import AigcError, Interrupted, PipeClosed, first_line
from aigc_cli.options import did_you_mean
from aigc_cli.ui.text import printable

VERBS = {
    "train": ("Train a model on your data.", train.run),
    "sample": ("Sample from a trained model.", sample.run),
    "eval": ("Evaluate a trained model on held-out data.", eval_command.run),
    "encode": ("Encode data as latent vectors and scores.", encode.run),
    "decode": ("Decode latent vectors into data.", decode.run),
}
#: Commands that belong to no backend.
OTHERS = {"runs": runs.add, "report": report.add, "doctor": doctor.add}
COMMANDS = (*VERBS, *OTHERS)


class InOrderOfUse(TyperGroup):
    """Lists the commands in help in the order in which they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=COMMANDS.index)


def build(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command line, or the part that these arguments need: building the rest would double the start-up time."""
    app = typer.Typer(
        name="aigc",
        cls=InOrderOfUse,
        help="Train a generative model from scratch on your own data, sample from it and evaluate it, with one command each.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def top(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
        ] = False,
    ) -> None: ...

    asked, backend = [*arguments[:2], None, None][:2]
    for name in [asked] if asked in COMMANDS else COMMANDS:
        if name in VERBS:
            add_verb(app, name, *VERBS[name], only=backend)
        else:
            OTHERS[name](app)
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"aigc {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point `aigc`."""
    status = [1]
    atexit.register(lambda: _leave(status[0]))  # the first one, which is called last
    status[0] = run()
    sys.exit(status[0])


def run() -> int:
    """Run the command in `sys.argv` and return its exit code. Shows no traceback without --debug."""
    _open_missing_streams()
    _buffer_output()
    if follows():  # the first process tells everything
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    try:
        with ending_tidily():
            code = build(sys.argv[1:])(prog_name="aigc", standalone_mode=False)
            sys.stdout.flush()
    except typer.TyperException as error:
        code = _fail(_reworded(error.format_message()), error.exit_code)
    except typer.Abort:
        code = _fail("interrupted", 130)
    except (PipeClosed, BrokenPipeError):
        # Otherwise Python would complain while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PipeClosed.exit_code
    except (AigcError, Interrupted) as error:
        code = _fail(str(error), error.exit_code, error)
    except KeyboardInterrupt:
        code = _fail("interrupted", 130)
    except SystemExit as error:  # shell completion exits by itself
        code = error.code
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        code = _fail(f"{error.strerror or first_line(error)}{place} (--debug shows the traceback)", 1, error)
    except Exception as error:
        code = _fail(f"{type(error).__name__}: {first_line(error)} (--debug shows the traceback)", 1, error)
    return code if isinstance(code, int) else 0


def _leave(status: int) -> NoReturn:
    """End the process without tearing down the interpreter, which takes half a second with torch loaded."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody is listening
            stream.flush()
    os._exit(status)


def _open_missing_streams() -> None:
    """Point streams closed at start (`2>&-`) at the null device, so that the next open file doesn't get their number."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w"))  # noqa: SIM115, PTH123


def _buffer_output() -> None:
    """Buffer standard output even with PYTHONUNBUFFERED or `python -u`, where a large write may silently be cut short."""
    if isinstance(sys.stdout.buffer, io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(sys.stdout.detach()), encoding, errors, line_buffering=True)
        sys.__stdout__ = sys.stdout  # type: ignore[misc]  # rich measures its terminal
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")  # the name of a file may be in bytes that aren't UTF-8


def _reworded(message: str) -> str:
    """The parser's message, with the closest flag for a misspelt one, and an example for a backend in a command's place."""
    unknown = re.match(r"No such command '(.+)'\.", message)
    if unknown is not None and unknown[1] in backends():
        return f"{unknown[1]!r} is a backend, not a command; use it like this: aigc train {unknown[1]}"
    number = re.match(r"Invalid value for '(\S+)(?: / [^']+)?': Input should be a valid (integer|number)", message)
    if number is not None:
        return f"{number[1]} takes {'a whole number' if number[2] == 'integer' else 'a number'}"
    if re.match(r"No such option: --run\b(?!-)", message):
        return "No such option: --run; name the run directly, as in: aigc report NAME"
    match = re.fullmatch(r"No such option: (\S+) \(Possible options: (.+)\)", message)
    if match is None:
        return message
    return f"No such option: {match[1]}{did_you_mean(match[1], match[2].split(', '))}"


def _fail(message: str, code: int, error: BaseException | None = None) -> int:
    if error is not None and ("--debug" in sys.argv or os.environ.get("AIGC_DEBUG")):
        traceback.print_exception(error)
    if not message:  # help was printed already
        return code
    if follows():
        tell_launcher(message)
        return code
    with suppress(OSError):  # nobody is listening; the exit code still tells
        print(f"aigc: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
