"""What a user may be told: one line that says what is wrong, where, and what to do, and an exit code."""

from __future__ import annotations


class AigcError(Exception):
    """It failed while running. The message is one line for the user; exit code 1."""

    exit_code = 1


class RequestError(AigcError):
    """The request was wrong (an unknown option, a missing column, an unreadable file); exit code 2."""

    exit_code = 2


class PipeClosed(AigcError):
    """The reader of standard output went away: nothing is said, and the exit code is what a shell reports of SIGPIPE."""

    exit_code = 141

    def __init__(self) -> None:
        super().__init__("")


class Interrupted(BaseException):
    """A signal ended it; exit code 130 for SIGINT, 143 for SIGTERM. Like KeyboardInterrupt it is no Exception, so that nothing
    that handles errors swallows it."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def first_line(error: BaseException) -> str:
    """Of what an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
