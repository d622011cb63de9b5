"""One merged tensor, and the check that models can be merged at all. Files and models in memory both come through here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from afa_bench.errors import UserError
from afa_bench.merging.method import MergeMethod
from afa_bench.merging.place import Place

SHOWN = 10
"""How many keys an error lists of each kind."""

CHUNK = 2**20
"""Values that are computed at once: what is in fp32 meanwhile fits into a processor's cache, however large a tensor is."""


class Shaped(Protocol):
    """A tensor, or what is known of one before it is read."""

    @property
    def shape(self) -> Sequence[int]: ...


def merge_tensor(
    tensors: Sequence[Tensor],
    method: MergeMethod,
    settings: Mapping[str, Any],
    place: Place,
    dtype: torch.dtype | None = None,
    clamp: bool = False,
) -> Tensor:
    """One tensor of all models as one: computed in fp32 and cast once.

    Whole numbers, position ids and tensors in which the models do not differ are copied from the first.

    Args:
        tensors: of one shape.
        method: how they are merged.
        settings: as given.
        place: of the tensor.
        dtype: of the result; the first model's by default.
        clamp: what is beyond the number format's range becomes its largest number; else it is refused.

    Raises:
        UserError: a value of the result is no number, or beyond the number format's range.
    """
    first, *others = tensors
    if not first.is_floating_point() or place.key.endswith("position_ids"):
        return first
    kind = dtype or first.dtype
    if all(_same(first, other) for other in others):
        return cast(first, kind, place.key, clamp)
    arguments = method.at(settings, place)
    if method.whole:
        return cast(method(*(tensor.float() for tensor in tensors), **arguments), kind, place.key, clamp)
    merged = torch.empty(first.shape, dtype=kind, device=first.device)
    for part, *parts in zip(*(torch.split(tensor.reshape(-1), CHUNK) for tensor in (merged, *tensors)), strict=True):
        part.copy_(cast(method(*(values.float() for values in parts), **arguments), kind, place.key, clamp))
    return merged


def cast(tensor: Tensor, dtype: torch.dtype, key: str, clamp: bool = False) -> Tensor:
    """A tensor of weights in another number format; see :func:`merge_tensor`.

    Raises:
        UserError: as there.
    """
    if clamp:
        limits = torch.finfo(dtype)
        tensor = tensor.float().clamp(limits.min, limits.max)
    found = tensor.to(dtype)
    if not _finite(found):
        count = int((~torch.isfinite(found.float())).sum())
        kind = str(dtype).removeprefix("torch.")
        raise UserError(
            f"merge: {key}: {count} values that are no finite numbers in {kind}; expected other models, a wider dtype, or "
            "overflow: clamp for what is beyond its range"
        )
    return found


def require_same_keys(states: Sequence[Mapping[str, Shaped]], names: Sequence[str]) -> None:
    """Raise a UserError which lists all keys in which a source differs from the first."""
    first, *others = states
    found: list[str] = []
    for name, state in zip(names[1:], others, strict=True):
        shapes = {key for key in first.keys() & state.keys() if tuple(first[key].shape) != tuple(state[key].shape)}
        problems = {
            f"{name} lacks": first.keys() - state.keys(),
            f"{names[0]} lacks": state.keys() - first.keys(),
            f"{name} has another shape of": shapes,
        }
        found += [f"{what} {listed(keys)}" for what, keys in problems.items() if keys]
    if found:
        raise UserError(f"merge: {'; '.join(found)}; expected the same tensors in all models")


def listed(keys: Collection[str]) -> str:
    """The first keys in alphabetical order, and how many more there are."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(sorted(keys)[:SHOWN]) + more


def _finite(tensor: Tensor) -> bool:
    """Whether all values are finite: by the least and the largest, which a NaN is, too. (Asking each costs more than a merge.)"""
    if not tensor.numel():
        return True
    low, high = torch.aminmax(tensor if tensor.dtype.itemsize > 1 else tensor.float())
    return bool(low.isfinite() & high.isfinite())


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same values; of fp8, which torch does not compare, the same bits."""
    if one.dtype != other.dtype:
        return False
    return one.view(torch.uint8).equal(other.view(torch.uint8)) if one.dtype.itemsize == 1 else one.equal(other)
