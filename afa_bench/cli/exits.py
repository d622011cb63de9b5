"""Exit codes of the command, and which error has which."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from afa_bench.errors import NothingToDoError, UserError

FAILED = 1
"""It ran to its end, and some samples are error rows."""

USAGE = 2
"""The input was wrong: a suite, an option, a file."""

NOTHING_TO_DO = 3
"""The input was right, but there is nothing in it to work on."""

INTERNAL = 5
"""Of ``gate`` and ``verify``: an error of this package, which nobody must take for a verdict."""

SIGNAL = 128
"""And a signal's number: 130 after Ctrl-C, 143 after SIGTERM, 141 where nobody reads standard output any more."""


@contextmanager
def unheard() -> Iterator[None]:
    """What is printed inside may find no reader or no room: that is no verdict, and changes no exit code."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
    except OSError as error:
        silence()
        print(f"afa-bench: standard output: cannot be written: {error.strerror}", file=sys.stderr)


def silence() -> None:
    """Nothing is printed any more, by what ends the interpreter either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: UserError) -> int:
    return NOTHING_TO_DO if isinstance(error, NothingToDoError) else USAGE
