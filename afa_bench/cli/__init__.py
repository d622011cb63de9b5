"""The command ``afa-bench``: one thin file a verb. Only what a verb needs is imported, when it runs."""

from __future__ import annotations

import io
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import typer

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
"""Those that end the command in one line, and what it says."""

if hasattr(signal, "SIGHUP"):  # the terminal is closed, or the connection to it lost
    SIGNALS[signal.SIGHUP] = "hung up"


def app() -> typer.Typer:
    """The command line with all verbs."""
    from afa_bench.cli.verbs import root

    return root()


def main() -> None:
    """Entry point: a user's mistake, a signal, a full disk is one line and an exit code, never a traceback."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        _run()
    except BaseException as error:
        _leave(error)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # while the interpreter ends, there is nothing left to say


def _run() -> None:
    from afa_bench.log import LOG
    from afa_bench.paths import as_text
    from afa_bench.terminal import Warnings

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal does not have is no error
    for word in sys.argv[1:]:
        as_text(word)
    LOG.addHandler(Warnings())
    app()()


class Ended(BaseException):
    """SIGINT or SIGTERM: unwinds everything, so that nothing half done and no claim stays.

    No KeyboardInterrupt, of which the command line's package makes something of its own.
    """

    def __init__(self, number: int) -> None:
        self.number = number


def end(number: int, frame: object) -> NoReturn:
    """Handler of the signals that end the command."""
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise Ended(number)


def _leave(error: BaseException) -> None:
    """Say what an error is in one line, and exit with its code.

    Raises:
        BaseException: the error itself, where it is none of the user's.
    """
    from afa_bench.cli.exits import SIGNAL, USAGE, exit_code, silence
    from afa_bench.errors import UserError
    from afa_bench.store.locate import foreign

    if (number := _signal_behind(error)) is not None:
        _exit(f"{SIGNALS[signal.Signals(number)]}; run the same command again to go on", SIGNAL + number)
    if isinstance(error, UserError):
        _exit(str(error), exit_code(error))
    if _unheard(error):
        silence()
        sys.exit(SIGNAL + signal.SIGPIPE)
    if isinstance(error, OSError):  # a disk or a mount that fails where no one expected it
        _exit(str(error), USAGE)
    if isinstance(error, Exception) and foreign(error):
        _exit(f"storage: {error}", USAGE)
    raise error


def _unheard(error: BaseException) -> bool:
    """Whether the command ends because nobody reads its standard output any more, of which typer makes an exit code of 1."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return isinstance(error, BrokenPipeError) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    )


def _signal_behind(error: BaseException | None) -> int | None:
    """The signal that an error comes from: whatever a package has made of its exception on the way up."""
    while error is not None:
        if isinstance(error, Ended):
            return error.number
        if isinstance(error, KeyboardInterrupt):  # of a package with a handler of its own
            return signal.SIGINT
        error = error.__cause__ or error.__context__
    return None


def _exit(message: str, code: int) -> NoReturn:
    from afa_bench.words import line

    with suppress(OSError):  # a terminal that is gone
        print(f"afa-bench: {line(message)}", file=sys.stderr, flush=True)
    sys.exit(code)
