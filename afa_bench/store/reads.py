"""Readers of folders: an error of the file system on the way is one line that names what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from afa_bench.errors import UserError, unreadable
from afa_bench.store.place import names

Given = ParamSpec("Given")
Found = TypeVar("Found")


def reads(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """A function whose every OSError is a UserError."""

    @wraps(function)
    def reader(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        try:
            return function(*args, **kwargs)
        except UserError:
            raise
        except OSError as error:
            raise unreadable(Path(str(error.filename or args[0])), error) from error

    return reader


@reads
def whole(file: Path) -> bytes:
    """All bytes of a file.

    Raises:
        UserError: it cannot be read.
    """
    return file.read_bytes()


@reads
def names_in(folder: Path) -> list[str]:
    """The names of all that is in a folder, sorted; none where there is no folder.

    Raises:
        UserError: it cannot be read.
    """
    return sorted(names(folder))
