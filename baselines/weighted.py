"""The method ``weighted``: one model whose weights are computed from the group's, by default their weighted sum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from afa_bench.method import Denoiser, Method, Model, Options
from baselines.merged import chosen, merged

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class WeightedOptions(Options):
    """Options of ``weighted``.

    Attributes:
        form: weighted, weight-sum, add-difference, sum-twice, triple-sum, train-difference, ties or dare.
        models: the names of the models that the form takes as A, B, C ... (base, then the others, for ties and dare); by default
            all of the group's, in its order.
        weights: of ``weighted``: one a model, with the sum 1; by default all the same.
        alpha, beta, density, seed: the form's settings, where it has them; by default the form's.
    """

    form: str = "weighted"
    models: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None
    alpha: float | None = None
    beta: float | None = None
    density: float | None = None
    seed: int | None = None

    @field_validator("weights")
    @classmethod
    def _sum_to_one(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights is not None and not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-6):
            raise ValueError(f"the weights' sum is {math.fsum(weights):g}; expected 1")
        return weights

    @property
    def settings(self) -> dict[str, Any]:
        """What is given of the form's settings."""
        return self.model_dump(include={"weights", "alpha", "beta", "density", "seed"}, exclude_none=True)


class Weighted(Method[WeightedOptions]):
    """Weighted merging, theta = sum of w_i theta_i, and the named forms, of the U-Nets and of the text encoders."""

    name = "weighted"
    version = 1
    Options = WeightedOptions

    def variants(self, group: Group, options: WeightedOptions) -> Mapping[str, WeightedOptions]:
        """One row.

        Raises:
            UserError: a form, setting or number of models that do not go together.
        """
        from afa_bench.merging.forms import require_fit

        require_fit(options.form, len(chosen(group.models, options.models, self.name)), options.settings, self.name)
        return {self.name: options}

    def evaluations(self, group: Group, options: WeightedOptions) -> int:
        """One."""
        return 1

    def build(self, group: Group, models: Sequence[Model], options: WeightedOptions) -> Denoiser:
        """The merged model.

        Raises:
            UserError: as :meth:`variants`, or models of different architectures.
        """
        from afa_bench.merging.forms import find_form, require_fit

        models = chosen(models, options.models, self.name)
        settings = options.settings
        require_fit(options.form, len(models), settings, self.name)
        return merged(models, find_form(options.form, self.name), lambda part, key: settings)
