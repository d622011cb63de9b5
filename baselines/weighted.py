"""The method ``weighted``: one model whose weights are the weighted sum of the group's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

from pydantic import field_validator

from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Method, Model, Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from afa_bench.models.group import Group

SHOWN = 10
"""How many keys an error lists."""


class WeightedOptions(Options):
    """``weights``: one a model, in the group's order, with the sum 1; by default all the same."""

    weights: tuple[float, ...] | None = None

    @field_validator("weights")
    @classmethod
    def _sum_to_one(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights is not None and not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-6):
            raise ValueError(f"the weights' sum is {math.fsum(weights):g}; expected 1")
        return weights


class Weighted(Method[WeightedOptions]):
    """Weighted merging: theta = sum of w_i theta_i, of the U-Nets and of the text encoders."""

    name = "weighted"
    version = 1
    Options = WeightedOptions

    def variants(self, group: Group, options: WeightedOptions) -> Mapping[str, WeightedOptions]:
        """One row.

        Raises:
            UserError: another number of weights than of models.
        """
        _weights(options, len(group.models))
        return {self.name: options}

    def build(self, group: Group, models: Sequence[Model], options: WeightedOptions) -> Denoiser:
        """The merged model.

        Raises:
            UserError: another number of weights than of models, or models of different architectures.
        """
        from afa_bench.blocks.unet import require_alike

        weights = _weights(options, len(models))
        require_alike([model.unet for model in models])
        names = [model.name for model in models]
        unet = merged([model.unet for model in models], weights, names)
        return Denoiser(unet, [merged([model.text_encoder for model in models], weights, names)])


def merged(modules: Sequence[nn.Module], weights: Sequence[float], names: Sequence[str]) -> nn.Module:
    """A module with the weighted sum of the modules' weights; the one module itself if all are the same object."""
    first = modules[0]
    if all(module is first for module in modules):
        return first
    result = deepcopy(first)
    kept = result.state_dict()
    for key, tensor in merge([module.state_dict() for module in modules], weights, names):
        kept[key].copy_(tensor)
    return result


def merge(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float], names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """The merged tensors, one after the other: summed in fp32 and cast once.

    Integers, position ids and tensors in which the sources do not differ are copied from the first.

    Raises:
        UserError: a source lacks a key, has one more, or has another shape; the message lists them.
    """
    import torch

    require_same_keys(states, names)
    first, *others = states
    for key, tensor in first.items():
        if not tensor.is_floating_point() or key.endswith("position_ids") or all(tensor.equal(s[key]) for s in others):
            yield key, tensor
            continue
        total = torch.zeros_like(tensor, dtype=torch.float32)
        for weight, state in zip(weights, states, strict=True):
            total += weight * state[key].float()
        yield key, total.to(tensor.dtype)


def require_same_keys(states: Sequence[Mapping[str, Tensor]], names: Sequence[str]) -> None:
    """Raise a UserError which lists the keys in which a source differs from the first."""
    first = states[0]
    for name, state in zip(names[1:], states[1:], strict=True):
        problems = {
            f"{name} lacks": first.keys() - state.keys(),
            f"{names[0]} lacks": state.keys() - first.keys(),
            f"{name} has another shape of": {key for key in first.keys() & state.keys() if first[key].shape != state[key].shape},
        }
        found = [f"{what} {_listed(sorted(keys))}" for what, keys in problems.items() if keys]
        if found:
            raise UserError(f"weighted: {'; '.join(found)}; expected the same weights in all models")


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more


def _weights(options: WeightedOptions, count: int) -> Sequence[float]:
    weights = options.weights or (1 / count,) * count
    if len(weights) != count:
        raise UserError(f"weighted: weights: {len(weights)} given; expected one for each of the {count} models")
    return weights
