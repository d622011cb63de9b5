"""Options that several verbs have, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from afa_bench.api import names
from afa_bench.errors import UserError
from afa_bench.outputs import new_file, new_folder
from afa_bench.paths import expanded


def numbers(text: str, option: str) -> list[int]:
    """The positive whole numbers of a comma-separated option.

    Raises:
        UserError: something else.
    """
    parts = names(text)
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"{option}: expected whole numbers above 0 such as 10,20,50, found {text!r}")
    return list(dict.fromkeys(map(int, parts)))


def fraction(text: str, option: str) -> tuple[int, int]:
    """The whole numbers I and N of an option ``I/N``.

    Raises:
        UserError: something else than 1 <= I <= N.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UserError(f"{option}: expected I/N with I from 1 to N, such as 2/8, found {text!r}")
    return int(index), int(count)


def path(text: str) -> Path:
    """Reads an option or argument that names something to read."""
    return expanded(text)


def file_to_write(*suffixes: str) -> Callable[[Any, Any, Path | None], Path | None]:
    """Reads an option that names a file to write; what is wrong with it is found out before the work."""
    return lambda context, option, value: value and new_file(value, _name(option), *suffixes)


def folder_to_write(context: Any, option: Any, value: Path | None) -> Path | None:
    """Reads an option that names a folder to write to; what is wrong with it is found out before the work."""
    return value and new_folder(value, _name(option))


def _name(option: Any) -> str:
    return str(max(option.opts, key=len))
