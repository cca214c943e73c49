"""Errors for the user: one line that says what is wrong, where and what to do, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AigcError(Exception):
    """A failure while running. The message is one line for the user; exit code 1."""

    exit_code = 1


class RequestError(AigcError):
    """The request was wrong (an unknown option, a missing column, an unreadable file); exit code 2."""

    exit_code = 2


class PipeClosed(AigcError):
    """The reader of standard output is gone: silent, with the exit code that a shell reports for SIGPIPE."""

    exit_code = 141

    def __init__(self) -> None:
        super().__init__("")


class Interrupted(BaseException):
    """Ended by a signal; exit code 130 for SIGINT, 143 for SIGTERM. Like KeyboardInterrupt it is not an Exception, so that
    error handlers don't swallow it."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn what is raised where a record isn't as it should be, as a stranger may have written it, into one line."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise RequestError(f"{what} is not as aigc writes it ({type(error).__name__}: {first_line(error)})") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
