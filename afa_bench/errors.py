"""What a user can put right. The command line prints it as one line and gives each kind an exit code; to a library's user these
are ordinary ValueErrors and FileNotFoundErrors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from afa_bench.words import line


class UserError(ValueError):
    """Something the user can put right: one line that names the file or the key, and what was expected."""

    def __init__(self, message: str) -> None:
        super().__init__(line(message))


class NothingToDoError(UserError):
    """What was asked for is right, but there is nothing to work on."""


class NotFoundError(UserError, FileNotFoundError):
    """A file, a folder or a name of one that is not there."""


class NotFetchedError(NotFoundError):
    """A file from elsewhere that is not on this machine: what needs it can be left out."""


def unreadable(path: Path, error: OSError) -> UserError:
    """What to raise where a file cannot be opened or read."""
    kind = NotFoundError if isinstance(error, FileNotFoundError) else UserError
    return kind(f"{path}: cannot be read: {error.strerror or error}")


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an "unknown name" message: the nearest known names, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"known: {', '.join(known) or 'none'}"
