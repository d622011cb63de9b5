"""The order of images by their names, where it is by the order alone that captions belong to them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from afa_bench.errors import UserError

NUMBER = re.compile(r"[0-9]+")


def in_order(files: Sequence[str], what: str) -> tuple[list[str], str]:
    """Files in the order that is meant, and that order in words.

    Numbers in names count as numbers, ``2.png`` before ``10.png``. Where that puts two names otherwise than their texts would,
    they must be alike but for their numbers: of ``10b4.png`` and ``9fc1.png`` no one can say which is first.

    Args:
        files: paths with ``/``.
        what: an error's first words.

    Raises:
        UserError: the order is not plain.
    """
    as_text = sorted(files, key=lambda file: file.split("/"))
    natural = sorted(files, key=lambda file: ([_numbered(part) for part in file.split("/")], file))
    if as_text == natural:
        return as_text, "by their names"
    rank = {file: place for place, file in enumerate(as_text)}
    latest: list[str] = []  # by text, of those that natural order has had so far: the last one, and the last of another form
    for file in natural:
        for other in latest:
            if rank[other] > rank[file] and _form(other) != _form(file):
                first, second = sorted((file, other))
                raise UserError(f"{what}: it is not plain which of {first} and {second} is first: expected a table of files")
        ranked = sorted([file, *latest], key=lambda each: -rank[each])
        latest = [ranked[0], *[other for other in ranked[1:] if _form(other) != _form(ranked[0])][:1]]
    return natural, "by the numbers in their names"


def _numbered(part: str) -> list[tuple[int, int]]:
    """What sorts as the text does, but for its numbers, which sort as numbers."""
    tokens = re.findall(r"[0-9]+|.", part, re.DOTALL)
    return [(ord("0"), int(token)) if NUMBER.match(token) else (ord(token), 0) for token in tokens]


def _form(file: str) -> str:
    return NUMBER.sub("0", file.rpartition(".")[0])
