"""Options that several verbs have, read and checked."""

from __future__ import annotations

from afa_bench.errors import UserError

FAILED = 1
"""Exit code of a finished command in which some samples are error rows."""


def names(text: str) -> list[str]:
    """The parts of a comma-separated option, without duplicates."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


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


def best_device() -> str:
    """The fastest kind of device that is there."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
