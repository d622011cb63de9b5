"""The method ``merge``: one model whose weights are computed from the group's, by default their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field
from typing_extensions import override

from afa_bench import registry
from afa_bench.errors import UserError, suggest
from afa_bench.log import deprecated
from afa_bench.merging.place import Place
from afa_bench.method import Denoiser, Method, Model, Options
from afa_bench.paths import located
from afa_bench.reading import validated
from baselines.families import has_blocks

if TYPE_CHECKING:
    from afa_bench.merging.method import MergeMethod
    from afa_bench.models.group import Group, ModelRef

FIRST = ("weighted", "weight-sum", "add-difference", "sum-twice", "triple-sum", "train-difference", "ties", "dare")
"""The merge methods whose results are filed as they were when the method was called ``weighted`` and its option ``form``."""

FIRST_SETTINGS = ("weights", "alpha", "beta", "density", "seed")

N = TypeVar("N", "Model", "ModelRef")


class Written(Options):
    """What a suite has beside the merge method's settings."""

    method: str = "weighted"
    models: tuple[str, ...] | None = None
    recipe: str | None = None


class MergeOptions(Options):
    """Options of ``merge``. In a suite the settings stand beside the others.

    Attributes:
        method: a merge method's name.
        models: the names of the models that the merge method takes as A, B, C ... (base, then the others, for ties and dare); by
            default all of the group's, in its order.
        settings: those of the merge method that are given.
        origin: of the merge method when the options were read.
    """

    method: str = "weighted"
    models: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = Field(default={})
    origin: Mapping[str, Any] | None = Field(default=None, exclude=True)

    @property
    def function(self) -> MergeMethod:
        """The merge method.

        Raises:
            UserError: it is none, or another than it was.
        """
        from afa_bench.merging.method import find_merge_method

        method = find_merge_method(self.method, "method")
        if self.origin not in (None, registry.origin(method.function)):
            raise UserError(f"method: {self.method}: has changed since it was loaded; run again")
        return method


class Merge(Method[MergeOptions]):
    """A merge of the U-Nets and of the text encoders, by any merge method. Its row has the merge method's name."""

    name = "merge"
    version = 1
    Options = MergeOptions

    @override
    def read_options(self, given: Mapping[str, Any], where: str, folder: Path) -> MergeOptions:
        """The options as a suite has them, or with ``recipe`` the models, the method and the settings of a recipe."""
        if given.get("recipe") is not None:
            return _of_recipe(given, where)
        from afa_bench.merging.method import find_merge_method

        method = find_merge_method(str(given.get("method", "weighted")), f"{where}: method", folder)
        written = validated(method.extended(Written, given), given, where, noun="option")
        settings, origin = method.given(written, given), registry.origin(method.function)
        return MergeOptions(method=method.name, models=written.models, settings=settings, origin=origin)

    @override
    def variants(self, group: Group, options: MergeOptions) -> Mapping[str, MergeOptions]:
        """One row under the merge method's name.

        Raises:
            UserError: models or settings that the merge method does not take.
        """
        count = len(chosen(group.models, options.models, self.name))
        options.function.require_fit(count, options.settings, self.name)
        if not has_blocks(group):
            options.function.require_fit(count, options.settings, f"{self.name}: group {group.name}", [Place("")])
        return {options.function.title: options}

    @override
    def identity(self, options: MergeOptions) -> dict[str, Any]:
        """A merge of the first edition's methods has the identity that it had then, under the names ``weighted`` and ``mbw``."""
        from afa_bench.merging.recipe import plain

        method = options.function
        models = None if options.models is None else list(options.models)
        if method.name in FIRST:
            settings: dict[str, Any] = {"form": method.name, **dict.fromkeys(FIRST_SETTINGS), **options.settings}
            return {"name": "weighted", "version": method.version, "options": {**plain(settings), "models": models}}
        settings = plain({**method.defaults, **options.settings})
        if method.name == "mbw":
            return {"name": "mbw", "version": method.version, "options": {**settings, "models": models, "recipe": None}}
        filed = {"method": method.title, "models": models, "settings": settings}
        return {"name": self.name, "version": method.version, "options": filed, **registry.origin(method.function)}

    @override
    def evaluations(self, group: Group, options: MergeOptions) -> int:
        return 1

    @override
    def build(self, group: Group, models: Sequence[Model], options: MergeOptions) -> Denoiser:
        """The merged model.

        Raises:
            UserError: as :meth:`variants`, or models of different architectures.
        """
        from afa_bench.merging.memory import MergedModel

        merged = MergedModel(chosen(models, options.models, self.name), group.family)
        merged.write(options.function, options.settings)
        return Denoiser(merged.unet, [merged.text_encoder])


class Weighted(Merge):
    """The old name of ``merge``, with ``form`` for ``method``. Its row has this name."""

    name = "weighted"

    @override
    def read_options(self, given: Mapping[str, Any], where: str, folder: Path) -> MergeOptions:
        deprecated("the method weighted", "merge")
        if "form" in given:
            deprecated("form", "method")
            given = {"method" if key == "form" else key: value for key, value in given.items()}
        return super().read_options(given, where, folder)

    @override
    def variants(self, group: Group, options: MergeOptions) -> Mapping[str, MergeOptions]:
        return dict.fromkeys([self.name], *super().variants(group, options).values())


def chosen(models: Sequence[N], names: Sequence[str] | None, where: str) -> Sequence[N]:
    """The models of these names in this order; all of them where none are given.

    Raises:
        UserError: a name that the group does not have.
    """
    known = {model.name: model for model in models}
    for name in names or ():
        if name not in known:
            raise UserError(f"{where}: models: unknown model {name!r}: {suggest(name, known)}")
    return models if names is None else [known[name] for name in names]


def _of_recipe(given: Mapping[str, Any], where: str) -> MergeOptions:
    from afa_bench.merging.recipe import read_recipe

    if set(given) != {"recipe"}:
        raise UserError(f"{where}: recipe: has the method, its settings and the models; expected no other option beside it")
    path = located(str(given["recipe"]))
    recipe = read_recipe(path)
    origin = registry.origin(recipe.method.function)
    return MergeOptions(method=recipe.method.name, models=tuple(recipe.models), settings=recipe.settings, origin=origin)
