"""The YAML file of a merge, and what it means for every block.

models: {A: one.safetensors, B: two.safetensors}    # relative to the recipe; files or diffusers folders
form: mbw                                           # or one of FORMS
chain: [{blocks: GRAD_V, base: 0.5}]                # the form's own settings
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from afa_bench.architectures.layout import BASE, TIME, Layout
from afa_bench.errors import UserError
from afa_bench.merging.forms import FORMS, Form, find_form, require_fit, weighted
from afa_bench.merging.mbw import MBWSettings
from afa_bench.reading import read_mapping, validated
from afa_bench.registry import suggest

MBW = "mbw"
NUMBERS = ("alpha", "beta", "density", "seed")


class Recipe(BaseModel):
    """A merge of checkpoints.

    Attributes:
        models: name -> a single file or a diffusers folder, relative to the recipe; the form takes them in this order.
        form: a key of ``FORMS``, or ``mbw``; its settings are further keys of the recipe.
        vae: the model whose VAE is copied; the first by default.
        like: for output as a diffusers folder: the folder whose configurations, tokenizers and scheduler are copied; the first
            model's by default, where that is one.
        dtype: of the merged tensors; the first model's by default.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    models: Annotated[dict[str, str], Field(min_length=1)]
    form: str = "weighted"
    vae: str | None = None
    like: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The form's own."""
        return dict(self.model_extra or {})

    @property
    def names(self) -> list[str]:
        """Of the models."""
        return list(self.models)

    def function(self) -> Form:
        """What computes a tensor."""
        return weighted if self.form == MBW else find_form(self.form, "merge")

    def by_block(self, layout: Layout) -> Mapping[str, Mapping[str, Any]]:
        """The form's settings for each block of an architecture, for the time embedding and BASE too.

        Raises:
            UserError: weights that do not fit the architecture.
        """
        if self.form != MBW:
            return dict.fromkeys((*layout.blocks, TIME, BASE), self.settings)
        weights = MBWSettings.model_validate(self.settings).weights(layout, len(self.models))
        return {block: {"weights": row} for block, row in weights.items()}


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe; the models are not opened.

    Raises:
        UserError: unreadable, not YAML, or a key that is unknown, missing or wrong.
    """
    document, _ = read_mapping(path, "of keys such as models, form, alpha")
    return as_recipe(document, str(path))


def as_recipe(document: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from its keys; ``where`` begins an error.

    Raises:
        UserError: a key that is unknown, missing or wrong.
    """
    recipe = validated(Recipe, document, where)
    if recipe.vae is not None and recipe.vae not in recipe.models:
        raise UserError(f"{where}: vae: unknown model {recipe.vae!r}: {suggest(recipe.vae, recipe.models)}")
    if recipe.form == MBW:
        validated(MBWSettings, recipe.settings, where, lambda _: (*Recipe.model_fields, *MBWSettings.model_fields))
    elif recipe.form not in FORMS:
        raise UserError(f"{where}: form: unknown form {recipe.form!r}: {suggest(recipe.form, (*FORMS, MBW))}")
    else:
        _check_numbers(recipe.settings, where)
        require_fit(recipe.form, len(recipe.models), recipe.settings, where)
    return recipe


def described(recipe: Recipe, settings: Mapping[str, Any]) -> str:
    """What a block takes from whom: ``0.7 A + 0.3 B``, or the form with its models and settings."""
    if recipe.function() is weighted:
        weights: Sequence[float] = settings.get("weights") or (1 / len(recipe.models),) * len(recipe.models)
        return " + ".join(f"{weight:.4g} {name}" for weight, name in zip(weights, recipe.names, strict=True) if weight)
    return ", ".join([f"{recipe.form}({', '.join(recipe.names)})", *(f"{key} {value}" for key, value in settings.items())])


def _check_numbers(settings: Mapping[str, Any], where: str) -> None:
    for key in NUMBERS:
        if key in settings and (isinstance(settings[key], bool) or not isinstance(settings[key], (int, float))):
            raise UserError(f"{where}: {key}: expected a number, found {settings[key]!r}")
    weights = settings.get("weights", [1])
    numbers = isinstance(weights, list) and all(isinstance(weight, (int, float)) for weight in weights)
    if not numbers or not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        raise UserError(f"{where}: weights: expected a list of numbers with the sum 1, found {weights!r}")
