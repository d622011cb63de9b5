"""Exit codes of the command, and which error has which."""

from __future__ import annotations

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
"""And a signal's number: 130 after Ctrl-C, 143 after SIGTERM."""


def exit_code(error: UserError) -> int:
    return NOTHING_TO_DO if isinstance(error, NothingToDoError) else USAGE
