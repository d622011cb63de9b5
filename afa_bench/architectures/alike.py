"""Whether models can be ensembled or merged: one architecture, one shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from afa_bench.errors import UserError

INSTEAD = {"mid_block_only_cross_attention": "only_cross_attention"}
"""Settings in whose place, where they are null, another one counts."""


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first key in which two models' configurations differ, or None; file notes and the nominal size do not count."""
    for key in dict.fromkeys([*one, *other]):
        if not key.startswith("_") and key != "sample_size" and not _same(_meant(one, key), _meant(other, key)):
            return key
    return None


def require_alike(models: Sequence[Any], noun: str = "U-Nets") -> None:
    """Raise a UserError which names the first difference between models that are to be ensembled or merged.

    It is their class, a key of their configuration (the number of channels among them), or a tensor's shape.
    """
    first = models[0]
    shapes = {name: tuple(value.shape) for name, value in first.named_parameters()}
    for number, model in enumerate(models[1:], start=2):
        if type(model) is not type(first):
            raise _differs(noun, "architecture", number, type(model).__name__, type(first).__name__)
        key = first_difference(first.config, model.config)
        if key is not None:
            raise _differs(noun, key, number, repr(model.config.get(key)), repr(first.config.get(key)))
        own = {name: tuple(value.shape) for name, value in model.named_parameters()}
        for name in dict.fromkeys([*shapes, *own]):
            if shapes.get(name) != own.get(name):
                raise _differs(noun, name, number, str(own.get(name)), str(shapes.get(name)))


def _differs(noun: str, key: str, number: int, found: str, expected: str) -> UserError:
    return UserError(f"{noun}: {key}: model {number} has {found}; expected {expected}, which model 1 has")


def _meant(config: Mapping[str, Any], key: str) -> Any:
    value = config.get(key)
    return config.get(INSTEAD[key]) if value is None and key in INSTEAD else value


def _same(one: Any, other: Any) -> bool:
    """Whether two settings compute the same: nothing is ``false``, and one value for all levels is a list of equal ones."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (list, tuple)) or isinstance(other, (list, tuple)):
        values, value = (one, other) if isinstance(one, (list, tuple)) else (other, one)
        return bool(values) and all(_same(item, value) for item in values)
    return bool(one == other) or all(value is None or value is False for value in (one, other))
