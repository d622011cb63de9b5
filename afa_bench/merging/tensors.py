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


def merge_tensor(tensors: Sequence[Tensor], method: MergeMethod, settings: Mapping[str, Any], place: Place) -> Tensor:
    """One tensor of all models as one: computed in fp32 and cast once to the first model's number format.

    Integers, position ids and tensors in which the models do not differ are copied from the first, to the bit.
    """
    first, *others = tensors
    if not first.is_floating_point() or place.key.endswith("position_ids") or all(first.equal(other) for other in others):
        return first
    arguments = method.at(settings, place)
    if method.whole:
        return method(*(tensor.float() for tensor in tensors), **arguments).to(first.dtype)
    merged = torch.empty(first.shape, dtype=first.dtype, device=first.device)
    for part, *parts in zip(*(torch.split(tensor.reshape(-1), CHUNK) for tensor in (merged, *tensors)), strict=True):
        part.copy_(method(*(values.float() for values in parts), **arguments))
    return merged


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
