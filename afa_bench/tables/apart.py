"""Where two values differ, in few words: of two long ones not their beginnings, which may be the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

WIDTH = 60
"""Characters of a value that are shown."""

BEFORE = 20
"""Of them, those before the first that differs."""

MISSING = "nothing"
"""Stands for a value where there is none."""


def apart(one: Any, other: Any, way: str = "") -> tuple[str, str, str]:
    """The way to where two different values differ first, and what each has there.

    Args:
        one, other: as JSON has them.
        way: to the two values.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            a, b = one.get(key, MISSING), other.get(key, MISSING)
            if a != b:
                return apart(a, b, f"{way}.{key}" if way else str(key))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            if a != b:
                return apart(a, b, f"{way}.{place}")
    return (way, *_shown(_text(one), _text(other)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _shown(one: str, other: str) -> tuple[str, str]:
    pairs = enumerate(zip(one, other, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
    start = max(0, same - BEFORE) if max(len(one), len(other)) > WIDTH else 0
    one, other = (f"{'...' if start else ''}{text[start:]}" for text in (one, other))
    return _cut(one), _cut(other)


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
