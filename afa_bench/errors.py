"""The one exception that reaches a user as a single line instead of a traceback."""

from __future__ import annotations

USAGE = 2
"""Exit code: the input was wrong (a suite, an option, a file)."""

NOTHING_TO_DO = 3
"""Exit code: the input was right, but there is nothing in it to work on."""


class UserError(Exception):
    """Something the user can put right: it names the file, the key and what was expected.

    Args:
        message: one line, shown as it is.
        code: the process' exit code.
    """

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


class NotFetchedError(UserError):
    """A file from elsewhere that is not on this machine: what needs it can be left out."""
