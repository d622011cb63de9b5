"""Models of a group merged in memory. The sources stay as they are and are shared; only the result is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Model
from afa_bench.registry import suggest

if TYPE_CHECKING:
    from torch import nn

    from afa_bench.merging.core import Settings
    from afa_bench.merging.forms import Form


class Named(Protocol):
    """A model or the reference to one."""

    @property
    def name(self) -> str:
        """In the group."""


N = TypeVar("N", bound=Named)
PartSettings = Callable[[Literal["unet", "text_encoder"], str], Mapping[str, Any]]
"""The settings of a form for a tensor, by its part and its name."""


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


def merged(models: Sequence[Model], form: Form, settings: PartSettings) -> Denoiser:
    """The merge of the models' U-Nets and, where they have their own, of their text encoders.

    Raises:
        UserError: models of different architectures.
    """
    from afa_bench.architectures.alike import require_alike

    unets, encoders = [model.unet for model in models], [model.text_encoder for model in models]
    require_alike(unets)
    names = [model.name for model in models]
    unet = _merged(unets, form, lambda key: settings("unet", key), names)
    return Denoiser(unet, [_merged(encoders, form, lambda key: settings("text_encoder", key), names)])


def _merged(modules: Sequence[nn.Module], form: Form, settings: Settings, names: Sequence[str]) -> nn.Module:
    """A module with the merged weights; the one module itself if all are the same object."""
    from afa_bench.merging.core import merge

    first = modules[0]
    if all(module is first for module in modules):
        return first
    result = deepcopy(first)
    kept = result.state_dict()
    for key, tensor in merge([module.state_dict() for module in modules], form, settings, names):
        kept[key].copy_(tensor)
    return result
