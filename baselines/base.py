"""The method ``base``: each model of a group alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Method, Model, Options

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class BaseOptions(Options):
    """``model``: the name of one model of the group; by default each of them, a row a model."""

    model: str | None = None


class Base(Method[BaseOptions]):
    """One model, as it is."""

    name = "base"
    version = 1
    Options = BaseOptions

    @override
    def variants(self, group: Group, options: BaseOptions) -> Mapping[str, BaseOptions]:
        """One row a model, under the model's name.

        Raises:
            UserError: the group has no model of the given name.
        """
        names = [ref.name for ref in group.models]
        if options.model is None:
            return {name: BaseOptions(model=name) for name in names}
        if options.model not in names:
            raise UserError(f"base: model: {options.model!r} is not in group {group.name}; expected {' or '.join(names)}")
        return {options.model: options}

    @override
    def evaluations(self, group: Group, options: BaseOptions) -> int:
        return 1

    @override
    def build(self, group: Group, models: Sequence[Model], options: BaseOptions) -> Denoiser:
        """The model of that name; the group's only one where none is given.

        Raises:
            UserError: no such model, or no name and several models.
        """
        chosen = [model for model in models if options.model in (None, model.name)]
        if len(chosen) != 1:
            names = " or ".join(model.name for model in models)
            raise UserError(f"base: model: {options.model!r} is not one model of group {group.name}; expected {names}")
        return Denoiser(chosen[0].unet, [chosen[0].text_encoder])
