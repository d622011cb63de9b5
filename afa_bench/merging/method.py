"""What a merge method is: one function on a tensor of every model, whose keyword arguments are its settings.

``@merge_method`` makes one of a function. One registration (entry-point group ``afa_bench.merge_methods``) gives it to ``merge``,
``search``, the method ``merge`` of suites and the documentation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import torch
from pydantic import BaseModel, Strict, create_model
from torch import Tensor

from afa_bench import registry
from afa_bench.errors import UserError
from afa_bench.identity import seed_of
from afa_bench.merging.blocks import ByBlock, Number
from afa_bench.merging.place import Place

PLACE = "place"
"""A keyword parameter of this name is no setting: it is the :class:`Place` of the tensor."""

SEED = "seed"

RESERVED = frozenset(
    {
        *("models", "method", "form", "vae", "like", "dtype", "recipe", "name", "label", "groups"),
        *("prediction_type", "zero_snr", "position_ids", "overflow"),
    }
)
"""Keys that recipes and suites have beside a method's settings."""

STRICT: Mapping[Any, Any] = {float: Number, **{kind: Annotated[kind, Strict()] for kind in (int, bool, str)}}

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class MergeMethod:
    """A function with what a merge has to know of it.

    Attributes:
        function: takes a tensor of each model, in fp32 and of one shape, by position, and settings by keyword; gives back the
            merged tensor. It raises ValueError for settings or a number of models that it does not take.
        name: as users write it.
        whole: it looks at all of a tensor; others compute each value from the models' values at its place.
        random: it draws by its setting ``seed``, and is given another one for every tensor.
        linear: its result is a sum of the models, each with a weight of its own.
        version: raised whenever its results change.
    """

    function: Callable[..., Tensor]
    name: str
    whole: bool = False
    random: bool = False
    linear: bool = False
    version: int = 1

    def __call__(self, *models: Tensor, **settings: Any) -> Tensor:
        """The merged tensor.

        Raises:
            UserError: the function gives something else than a tensor of the models' shape, which could pass for one.
        """
        merged, expected = self.function(*models, **settings), models[0].shape
        if not isinstance(merged, Tensor) or merged.shape != expected:
            found = list(merged.shape) if isinstance(merged, Tensor) else merged
            raise UserError(f"merge method {self.title}: expected a tensor of the shape {list(expected)}, found {found!r}")
        return merged

    @property
    def title(self) -> str:
        """The name in tables and identities: without the file that it is from."""
        return self.name.rpartition(":")[2].replace("_", "-")

    @cached_property
    def parameters(self) -> Sequence[inspect.Parameter]:
        """All of the function's."""
        return tuple(inspect.signature(self.function).parameters.values())

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """Its settings, with their values where none are given."""
        return {p.name: p.default for p in self.parameters if p.kind is p.KEYWORD_ONLY and p.name != PLACE}

    @cached_property
    def numbers(self) -> Sequence[str]:
        """The settings that may be given by block: those of one number each."""
        return [name for name in self.defaults if self._hints[name] is float]

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        return get_type_hints(self.function, include_extras=True)

    def extended(self, base: type[M], written: Mapping[str, Any]) -> type[M]:
        """A model of the keys that users write: those of ``base``, and this method's settings, whose types are strict.

        Numbers are numbers, and finite; a setting of one number is by block where a mapping or a text is written.
        """

        def kind(name: str) -> Any:
            by_block = name in self.numbers and isinstance(written.get(name), (str, Mapping))
            return ByBlock if by_block else _strict(self._hints[name])

        fields: dict[str, Any] = {name: (kind(name), default) for name, default in self.defaults.items()}
        return create_model(base.__name__, __base__=base, **fields)

    def given(self, written: BaseModel, keys: Iterable[str]) -> dict[str, Any]:
        """The settings among the ``keys`` that were written, in their order."""
        return {key: getattr(written, key) for key in keys if key in self.defaults}

    def require_fit(self, count: int, settings: Mapping[str, Any], where: str, places: Iterable[Place] = ()) -> None:
        """Raise a UserError for a number of models or settings that the function does not take: it is tried on small tensors.

        Args:
            count: of models.
            settings: as given.
            where: the error's first words.
            places: where it is tried; what depends on the place is not tried without one.
        """
        least = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in self.parameters)
        any_number = any(p.kind is p.VAR_POSITIONAL for p in self.parameters)
        least = max(least + any_number, 1)
        if count < least or (count > least and not any_number):
            raise UserError(f"{where}: models: {self.name} takes {least}{' or more' if any_number else ''}; {count} given")
        anywhere = not self.takes_place and not any(isinstance(value, ByBlock) for value in settings.values())
        try:
            for place in [*places] or [Place("")] * anywhere:
                self(*torch.ones(count, 2, 2).unbind(), **self.at(settings, place))
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error

    @cached_property
    def takes_place(self) -> bool:
        """Whether it asks where it is."""
        return any(p.name == PLACE for p in self.parameters)

    def at(self, settings: Mapping[str, Any], place: Place) -> dict[str, Any]:
        """The keyword arguments for one tensor."""
        found = {name: value.at(place) if isinstance(value, ByBlock) else value for name, value in settings.items()}
        if self.random:
            found[SEED] = seed_of(found.get(SEED, self.defaults[SEED]), *place.name)
        return {**found, PLACE: place} if self.takes_place else found

    def shares(self, count: int, settings: Mapping[str, Any], place: Place) -> list[float]:
        """The weight of each model in a ``linear`` method's result."""
        return [float(self.function(*row, **self.at(settings, place))) for row in torch.eye(count, dtype=torch.float64)]


@overload
def merge_method(function: Callable[..., Tensor], /) -> MergeMethod: ...


@overload
def merge_method(
    *, whole: bool = False, random: bool = False, linear: bool = False, version: int = 1
) -> Callable[[Callable[..., Tensor]], MergeMethod]: ...


def merge_method(function: Callable[..., Tensor] | None = None, /, **about: Any) -> Any:
    """A merge method of a function, under the function's name with dashes; the arguments are :class:`MergeMethod`'s.

    Every keyword parameter is a setting, with a type and with a default, so that a recipe may leave it out.

    Raises:
        TypeError: a setting without a type or a default, one of a name that recipes use, or a random method without ``seed``.
    """
    if function is None:
        return lambda given: merge_method(given, **about)
    method = MergeMethod(function, function.__name__.replace("_", "-"), **about)
    for p in method.parameters:
        if p.name in method.defaults and (p.annotation is p.empty or p.default is p.empty or p.name in RESERVED):
            raise TypeError(f"{method.name}: {p.name}: expected a type, a default, and a name that is no key of recipes")
    if method.random and SEED not in method.defaults:
        raise TypeError(f"{method.name}: a random method needs the keyword parameter {SEED}")
    return method


def find_merge_method(name: str, where: str, folder: Path = Path()) -> MergeMethod:
    """The merge method of a name.

    Args:
        name: as written in a recipe or a suite.
        where: file and key, for the error's first words.
        folder: of that file.

    Raises:
        UserError: there is none, or it does not load.
    """
    found: MergeMethod = registry.load("merge_methods", name, where, folder)
    return replace(found, name=registry.anchored(name, folder))


def _strict(annotation: Any) -> Any:
    """A type hint whose numbers, texts and truth values are strict, however deep."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and annotation in STRICT:
        return STRICT[annotation]
    if origin is Annotated:
        return Annotated[(_strict(inner[0]), *inner[1:])]
    if origin in (Union, UnionType):
        return reduce(or_, map(_strict, inner))
    if isinstance(origin, type):
        return origin[tuple(map(_strict, inner))]  # type: ignore[index]
    return annotation
