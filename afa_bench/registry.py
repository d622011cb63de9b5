"""Methods, merge methods, trainables, prompt sets, metrics and feature extractors by name, through entry points.

A third party's package registers in the same way as this one: an entry point in the group ``afa_bench.<kind>``. Nothing is
imported before it is asked for.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from afa_bench.errors import UserError

Kind = Literal["methods", "merge_methods", "trainables", "prompts", "metrics", "features"]


def available(kind: Kind) -> Mapping[str, EntryPoint]:
    """All registered plug-ins of a kind, by name, in alphabetical order.

    Raises:
        UserError: two packages register the same name.
    """
    return _installed(kind, tuple(sys.path))


@cache
def _installed(kind: Kind, path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """The same, of a search path, which is looked through once: a metric's name is asked for with every sample."""
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=f"afa_bench.{kind}"), key=lambda point: point.name):
        if point.name in found and found[point.name].value != point.value:
            raise UserError(f"{kind}: {point.name!r} is registered twice: {found[point.name].value} and {point.value}")
        found[point.name] = point
    return found


def load(kind: Kind, name: str, where: str = "") -> Any:
    """The object registered under ``name``.

    Args:
        kind: the entry-point group.
        name: as written in a suite.
        where: file and key, for the error's first words.

    Raises:
        UserError: an unknown name (with the nearest known ones), or a plug-in that does not import.
    """
    found, noun = available(kind), kind[:-1].replace("_", " ")
    if name not in found:
        raise UserError(f"{where + ': ' if where else ''}unknown {noun} {name!r}: {suggest(name, found)}")
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"{noun} {name!r} ({found[name].value}) does not load: {error}") from error


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an "unknown name" message: the nearest known names, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"known: {', '.join(known) or 'none'}"
