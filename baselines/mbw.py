"""The method ``mbw``: one model, merged with other weights in every block of the U-Net (block-weighted merging)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from afa_bench.errors import UserError
from afa_bench.merging.mbw import MBWSettings
from afa_bench.method import Denoiser, Method, Model, Options
from afa_bench.paths import located
from baselines.merged import chosen, merged

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class MBWOptions(MBWSettings, Options):
    """The weights, see ``MBWSettings``.

    Attributes:
        models: names in the order of the weights, by default all in the group's order.
        recipe: instead of all others, a recipe of ``afa-bench merge`` or one that ``afa-bench search`` found; ``zoo:`` stands for
            the folder of the miniature zoo.
    """

    models: tuple[str, ...] | None = None
    recipe: str | None = None


class MBW(Method[MBWOptions]):
    """Merge block weighted: 25 weights for SD 1.5, 19 for SDXL, and BASE for the text encoder."""

    name = "mbw"
    version = 1
    Options = MBWOptions

    def variants(self, group: Group, options: MBWOptions) -> Mapping[str, MBWOptions]:
        """One row, with the weights of the recipe if there is one: they are what the results depend on, not its file.

        Raises:
            UserError: a model that the group does not have, or a recipe of another form.
        """
        if options.recipe is not None:
            options = _of_recipe(options)
        chosen(group.models, options.models, self.name)
        return {self.name: options}

    def evaluations(self, group: Group, options: MBWOptions) -> int:
        """One."""
        return 1

    def build(self, group: Group, models: Sequence[Model], options: MBWOptions) -> Denoiser:
        """The merged model.

        Raises:
            UserError: weights which do not fit the models, models of different architectures, or of one without blocks.
        """
        from afa_bench.architectures.layout import BASE
        from afa_bench.merging.forms import weighted

        models = chosen(models, options.models, self.name)
        layout = group.family.layout_in_memory(models[0].unet, f"mbw: group {group.name}")
        weights = options.weights(layout, len(models))

        def settings(part: Literal["unet", "text_encoder"], key: str) -> Mapping[str, Any]:
            if part == "text_encoder":
                return {"weights": weights[BASE]}
            link = layout.of_diffusers("unet", key)
            if link is None:
                raise UserError(f"mbw: {key} belongs to no block of {layout.name}")
            return {"weights": weights[link.block]}

        return merged(models, weighted, settings)


def _of_recipe(options: MBWOptions) -> MBWOptions:
    from afa_bench.merging.recipe import MBW as FORM
    from afa_bench.merging.recipe import read_recipe

    if options.model_fields_set != {"recipe"}:
        raise UserError("mbw: recipe: has the weights and the models; expected no other option beside it")
    path = located(str(options.recipe))
    recipe = read_recipe(path)
    if recipe.form != FORM:
        raise UserError(f"{path}: form: {recipe.form}; expected {FORM}")
    return MBWOptions(**recipe.settings, models=tuple(recipe.models))
