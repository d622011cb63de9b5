"""The forms of a merge: one small function each, on one tensor of every model, in fp32.

The positional parameters are the models, the keyword parameters the form's settings; :data:`FORMS` is the register. Every form
gives back A where all models are alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from afa_bench.errors import UserError
from afa_bench.registry import suggest

Form: TypeAlias = Callable[..., Tensor]


def weighted(*models: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """The sum of w_i theta_i; 1/N each by default. A model of weight 0 does not take part, not even with its infinities."""
    shares = weights or (1 / len(models),) * len(models)
    taking = [(weight, model) for weight, model in zip(shares, models, strict=True) if weight != 0]
    if not taking:
        return torch.zeros_like(models[0])
    (weight, model), *others = taking
    total = weight * model
    for weight, model in others:
        total += weight * model
    return total


def weight_sum(a: Tensor, b: Tensor, *, alpha: float = 0.5) -> Tensor:
    """(1 - alpha) A + alpha B."""
    return weighted(a, b, weights=(1 - alpha, alpha))


def add_difference(a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 1.0) -> Tensor:
    """A + alpha (B - C)."""
    return a + alpha * (b - c)


def sum_twice(a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 0.5, beta: float = 0.5) -> Tensor:
    """(1 - beta) ((1 - alpha) A + alpha B) + beta C."""
    return weighted(a, b, c, weights=((1 - beta) * (1 - alpha), (1 - beta) * alpha, beta))


def triple_sum(a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 1 / 3, beta: float = 1 / 3) -> Tensor:
    """(1 - alpha - beta) A + alpha B + beta C."""
    return weighted(a, b, c, weights=(1 - alpha - beta, alpha, beta))


def train_difference(a: Tensor, b: Tensor, c: Tensor, *, alpha: float = 1.0) -> Tensor:
    """A + 1.8 alpha |B - A| / (|B - A| + |B - C|) (B - C): as if A had been trained as B was from C."""
    change, distance = b - c, (b - a).abs()
    total = distance + change.abs()
    share = torch.where(total > 0, distance / total, 0.0)
    return a + 1.8 * alpha * share * change


def ties(base: Tensor, *models: Tensor, alpha: float = 1.0, density: float = 0.2) -> Tensor:
    """Trim, elect signs, merge (Yadav et al. 2023): base + alpha times the mean of the changes which agree in sign.

    Of each model's change of a tensor the largest ``density`` is kept; the sign of a value is that of the changes' sum.
    """
    changes = torch.stack([_largest(model - base, density) for model in models])
    agree = torch.sign(changes) == torch.sign(changes.sum(0))
    agree &= changes != 0
    return base + alpha * (changes * agree).sum(0) / agree.sum(0).clamp(min=1)


def dare(base: Tensor, *models: Tensor, alpha: float = 1.0, density: float = 0.5, seed: int = 0) -> Tensor:
    """Drop and rescale (Yu et al. 2024): base + alpha times the mean of the changes, of each of which a random part is kept.

    A value is kept with the probability ``density`` and divided by it. The seed is one for each tensor.
    """
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(base)
    for model in models:
        kept = torch.rand(base.shape, generator=random).to(base.device) < density
        total += kept * (model - base) / density
    return base + alpha * total / len(models)


FORMS: Mapping[str, Form] = {
    form.__name__.replace("_", "-"): form
    for form in (weighted, weight_sum, add_difference, sum_twice, triple_sum, train_difference, ties, dare)
}

WHOLE: frozenset[Form] = frozenset({ties, dare})
"""The forms which look at all of a tensor; the others compute each value from the models' values at its place."""

RANDOM: frozenset[Form] = frozenset({dare})
"""The forms with a ``seed``."""


def find_form(name: str, where: str) -> Form:
    """The form of that name.

    Raises:
        UserError: there is none.
    """
    if name not in FORMS:
        raise UserError(f"{where}: form: unknown form {name!r}: {suggest(name, FORMS)}")
    return FORMS[name]


def require_fit(name: str, count: int, settings: Mapping[str, Any], where: str) -> None:
    """Raise a UserError for a number of models, a setting or a value which a form does not take."""
    parameters = inspect.signature(find_form(name, where)).parameters.values()
    single = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    least = max(len(single) + any_number, 1)
    if count < least or (count > least and not any_number):
        raise UserError(f"{where}: models: {name} takes {least}{' or more' if any_number else ''}; {count} given")
    for key in settings:
        if key not in known:
            raise UserError(f"{where}: {key}: {name} has no such setting; it takes {', '.join(known)}")
    weights = settings.get("weights")
    if weights is not None and len(weights) != count:
        raise UserError(f"{where}: weights: {len(weights)} given; expected one for each of the {count} models")
    if not 0 < settings.get("density", 1) <= 1:
        raise UserError(f"{where}: density: {settings['density']}; expected more than 0 and at most 1")


def _largest(change: Tensor, density: float) -> Tensor:
    """A tensor with all but its largest values set to 0."""
    sizes = change.abs().flatten()
    kept = max(1, round(density * sizes.numel()))
    if kept >= sizes.numel():
        return change
    least = sizes.kthvalue(sizes.numel() - kept + 1).values
    return torch.where(change.abs() >= least, change, 0.0)
