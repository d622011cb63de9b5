"""The merge methods that come with the package: one small function each, on one tensor of every model, in fp32.

Every one gives back A where all models are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from afa_bench.merging.blocks import ByBlock, models_weights
from afa_bench.merging.method import merge_method
from afa_bench.merging.place import Place

Share = Annotated[float, Field(gt=0, le=1)]


@merge_method(linear=True)
def weighted(*models: Tensor, weights: tuple[float, ...] | None = None) -> Tensor:
    """The sum of w_i theta_i, where the sum of the w_i is 1; 1/N each by default."""
    shares = weights or (1 / len(models),) * len(models)
    if len(shares) != len(models):
        raise ValueError(f"weights: {len(shares)} given; expected one for each of the {len(models)} models")
    if not math.isclose(math.fsum(shares), 1, abs_tol=1e-6):
        raise ValueError(f"weights: expected numbers with the sum 1, found {list(shares)}")
    return _sum(shares, models)


@merge_method(linear=True)
def mbw(
    *models: Tensor,
    place: Place,
    simplex: tuple[tuple[float, ...], ...] | None = None,
    base: tuple[float, ...] | None = None,
    chain: tuple[ByBlock, ...] | None = None,
    time_embedding: Literal["IN00", "BASE"] = "IN00",
) -> Tensor:
    """Merge block weighted: the sum of w_i theta_i with other weights in every block, see :func:`models_weights`."""
    return _sum(models_weights(place, len(models), simplex, base, chain, time_embedding), models)


@merge_method(linear=True)
def weight_sum(a: Tensor, b: Tensor, *, alpha: float = 0.5) -> Tensor:
    """(1 - alpha) A + alpha B."""
    return _sum((1 - alpha, alpha), (a, b))


@merge_method(linear=True)
def add_difference(a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 1.0) -> Tensor:
    """A + alpha (B - C)."""
    return a + alpha * (b - c) if alpha else a


@merge_method(linear=True)
def sum_twice(a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 0.5, beta: float = 0.5) -> Tensor:
    """(1 - beta) ((1 - alpha) A + alpha B) + beta C."""
    return _sum(((1 - beta) * (1 - alpha), (1 - beta) * alpha, beta), (a, b, c))


@merge_method(linear=True)
def triple_sum(a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 1 / 3, beta: float = 1 / 3) -> Tensor:
    """(1 - alpha - beta) A + alpha B + beta C."""
    return _sum((1 - alpha - beta, alpha, beta), (a, b, c))


@merge_method
def train_difference(a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 1.0) -> Tensor:
    """A + 1.8 alpha |B - A| / (|B - A| + |B - C|) (B - C): as if A had been trained as B was from C."""
    change, distance = b - c, (b - a).abs()
    total = distance + change.abs()
    share = torch.where(total > 0, distance / total, 0.0)
    return a + 1.8 * alpha * share * change


@merge_method(whole=True)
def ties(base: Tensor, *models: Tensor, alpha: float = 1.0, density: Share = 0.2) -> Tensor:
    """Trim, elect signs, merge (Yadav et al. 2023): base + alpha times the mean of the changes which agree in sign.

    Of each model's change of a tensor the largest ``density`` is kept; the sign of a value is that of the changes' sum.
    """
    changes = torch.stack([_largest(model - base, density) for model in models])
    agree = torch.sign(changes) == torch.sign(changes.sum(0))
    agree &= changes != 0
    return base + alpha * (changes * agree).sum(0) / agree.sum(0).clamp(min=1)


@merge_method(whole=True, random=True, version=2)
def dare(base: Tensor, *models: Tensor, alpha: float = 1.0, density: Share = 0.5, seed: int = 0) -> Tensor:
    """Drop and rescale (Yu et al. 2024): base + alpha times the mean of the changes, of each of which a random part is kept.

    A value is kept with the probability ``density`` and divided by it. The seed is one for each tensor.
    """
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(base)
    for model in models:
        kept = torch.rand(base.shape, generator=random).to(base.device) < density
        total += kept * (model - base) / density
    return base + alpha * total / len(models)


def _sum(weights: Sequence[float], models: Sequence[Tensor]) -> Tensor:
    """The sum of w_i theta_i. A model of weight 0 does not take part, not even with its infinities."""
    taking = [(weight, model) for weight, model in zip(weights, models, strict=True) if weight != 0]
    if not taking:
        return torch.zeros_like(models[0])
    (weight, model), *others = taking
    total = weight * model
    for weight, model in others:
        total += weight * model
    return total


def _largest(change: Tensor, density: float) -> Tensor:
    """A tensor with all but its largest values set to 0."""
    sizes = change.abs().flatten()
    kept = max(1, round(density * sizes.numel()))
    if kept >= sizes.numel():
        return change
    least = sizes.kthvalue(sizes.numel() - kept + 1).values
    return torch.where(change.abs() >= least, change, 0.0)
