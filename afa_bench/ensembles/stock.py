"""What stock pipelines, loaders and hooks ask of a denoiser beside its forward, for N models in the place of one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache, cached_property, wraps
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.peft_utils import scale_lora_layers, unscale_lora_layers
from torch import nn

from afa_bench.errors import UserError
from afa_bench.log import LOG

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_hf_hook", "_diffusers_hook")
"""Where torch, accelerate and diffusers keep the hooks of a module's forward."""


def each(name: str) -> Any:
    """A stock method that does to every model what it does to one, and returns what it returns for the first."""

    def done(self: Stock, *args: Any, **named: Any) -> Any:
        results = [
            getattr(model, name)(*map(_own, args), **{key: _own(value) for key, value in named.items()}) for model in self.models
        ]
        return results[0]

    done.__name__ = name
    return done


def of_first(name: str) -> Any:
    """A stock attribute, which is read of the first model and set in all."""

    def read(self: Stock) -> Any:
        return getattr(self.models[0], name)

    def write(self: Stock, value: Any) -> None:
        for model in self.models:
            setattr(model, name, value)

    return property(read, write)


class StandIn(type):
    """The class of classes whose instances stand in for one of a stock class.

    diffusers' ``from_pipe`` takes a model over only if its very class equals the one which the new pipeline asks for: this is
    what makes them equal. Nothing else of the stock class is claimed.
    """

    stands_for: tuple[str, ...] = ()

    def __eq__(cls, other: object) -> bool:
        return cls is other or (isinstance(other, type) and not isinstance(other, StandIn) and other.__name__ in cls.stands_for)

    __hash__ = type.__hash__


class Stock(ModelMixin, ConfigMixin, metaclass=StandIn):  # type: ignore[misc]
    """N models of one configuration as one model of diffusers: saved, loaded, moved, offloaded and adapted as one.

    A LoRA that is loaded into it is loaded into every model. Saved, it is one file of weights, and a configuration which is the
    models' own with a few keys more (:meth:`about`).

    Attributes:
        models: in a ``ModuleList``.
    """

    models: Any
    _supports_gradient_checkpointing = True

    load_lora_adapter = each("load_lora_adapter")
    add_adapter = each("add_adapter")
    set_adapter = each("set_adapter")
    set_adapters = each("set_adapters")
    enable_adapters = each("enable_adapters")
    disable_adapters = each("disable_adapters")
    delete_adapters = each("delete_adapters")
    active_adapters = each("active_adapters")
    enable_lora = each("enable_lora")
    disable_lora = each("disable_lora")
    fuse_lora = each("fuse_lora")
    unfuse_lora = each("unfuse_lora")
    unload_lora = each("unload_lora")
    enable_lora_hotswap = each("enable_lora_hotswap")
    peft_config = of_first("peft_config")
    fuse_qkv_projections = each("fuse_qkv_projections")
    unfuse_qkv_projections = each("unfuse_qkv_projections")
    enable_layerwise_casting = each("enable_layerwise_casting")

    @property
    def config(self) -> Any:
        """The configuration of the first model; the others are alike."""
        return self.models[0].config

    @property
    def dtype(self) -> torch.dtype:
        return self.models[0].dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        return self.models[0].device  # type: ignore[no-any-return]

    @property
    def attn_processors(self) -> dict[str, Any]:
        """The attention processors of all models, by the names that they have in one; with ``[1]`` behind for the second model's.

        Whoever looks for a name's beginning, such as ``down_blocks.1``, finds all models'.
        """
        found: dict[str, Any] = {}
        for number, model in enumerate(self.models):
            found |= {_numbered(name, number): processor for name, processor in model.attn_processors.items()}
        return found

    def set_attn_processor(self, processor: Any) -> None:
        """One for all layers of all models; or one a name of :attr:`attn_processors`."""
        for number, model in enumerate(self.models):
            given = processor
            if isinstance(processor, Mapping):
                given = {name: processor[_numbered(name, number)] for name in model.attn_processors}
            model.set_attn_processor(given)

    def enable_group_offload(self, *args: Any, **named: Any) -> None:
        """As a stock model's; by leaves, since a model's blocks do not run as wholes here."""
        if named.get("offload_type", "block_level") != "leaf_level":
            LOG.warning("%s: group offload by leaves: a model's blocks do not run as wholes in an ensemble", type(self).__name__)
        named |= {"offload_type": "leaf_level", "num_blocks_per_group": None}
        super().enable_group_offload(*args, **named)

    def bypassed(self) -> Iterable[tuple[str, nn.Module]]:
        """The modules, by name, which a stock forward calls and an ensemble's does not, since it calls their parts."""
        return ()

    @cached_property
    def _bypassed(self) -> Sequence[tuple[str, nn.Module]]:
        return list(self.bypassed())

    def refuse_unreached_hooks(self) -> None:
        """Raise a UserError for hooks on modules whose own forward an ensemble does not call: they would do nothing."""
        for name, module in self._bypassed:
            found = [getattr(module, name, None) for name in HOOKS]
            if any(getattr(hooks, "hooks", hooks) for hooks in found):
                kind = type(module).__name__
                raise UserError(
                    f"{type(self).__name__}: {name} has a hook that would not be called; expected it on the layers in {kind}"
                )

    @contextmanager
    def lora_scaled(self, kwargs: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any] | None]:
        """Within it the models' LoRAs count as much as a stock call's attention arguments say (``scale``); gives the others."""
        scale = 1.0 if kwargs is None else kwargs.get("scale", 1.0)
        if scale != 1.0 and not any(hasattr(module, "scale_layer") for module in self.modules()):
            _say_unscaled(type(self).__name__)
            scale = 1.0
        if scale != 1.0:
            scale_lora_layers(self, scale)
        try:
            yield kwargs and {key: value for key, value in kwargs.items() if key != "scale"}
        finally:
            if scale != 1.0:
                unscale_lora_layers(self, scale)

    # Saved and loaded

    def about(self) -> dict[str, Any]:
        """What makes this ensemble of its models, as :meth:`made` takes it.

        Raises:
            UserError: it cannot be saved.
        """
        raise UserError(f"{type(self).__name__} cannot be saved; save its models, and build it anew")

    @classmethod
    def made(cls, models: Sequence[nn.Module], about: Mapping[str, Any]) -> Any:
        """The ensemble of such models."""
        raise UserError(f"{cls.__name__} cannot be loaded; load its models, and build it anew")

    def to_json_string(self) -> str:
        """``config.json``: the models' own configuration, their class and number, and :meth:`about`."""
        first = self.models[0]
        own = {key: value for key, value in json.loads(first.to_json_string()).items() if key != "_name_or_path"}
        kind = {"_class_name": type(self).__name__, "model": type(first).__name__, "models": len(self.models)}
        return json.dumps({**own, **kind, **self.about()}, indent=2, sort_keys=True) + "\n"

    @wraps(ModelMixin.save_pretrained)  # whose arguments a pipeline looks up before it gives them
    def save_pretrained(self, save_directory: Any, *args: Any, **named: Any) -> None:
        """As a stock model's.

        Raises:
            UserError: it cannot be saved; nothing has been written.
        """
        self.about()
        if len({id(model) for model in self.models}) < len(self.models):
            raise UserError(f"{type(self).__name__}: one model stands in several places; expected a copy in each, to save them")
        super().save_pretrained(save_directory, *args, **named)

    @classmethod
    def from_config(cls, config: Any, return_unused_kwargs: bool = False, **named: Any) -> Any:
        """With fresh weights, of what :meth:`to_json_string` says.

        Raises:
            UserError: it says no such thing.
        """
        import diffusers

        kind, count = getattr(diffusers, str(config.get("model")), None), config.get("models")
        if not (isinstance(kind, type) and issubclass(kind, ModelMixin)) or not isinstance(count, int) or count < 1:
            raise UserError(f"{cls.__name__}: config.json: model, models: expected a class of diffusers and a number of them")
        own = {key: value for key, value in config.items() if key not in ("_class_name", "model", "models", "_name_or_path")}
        about = {key: own.pop(key) for key in ("aggregator", "text_widths") if key in own}
        made = cls.made([kind.from_config(own) for _ in range(count)], about)  # type: ignore[attr-defined]
        return (made, {}) if return_unused_kwargs else made


@cache  # once a process
def _say_unscaled(name: str) -> None:
    LOG.warning("%s: a LoRA's scale changes nothing: none of the models has a LoRA (one that is fused cannot be scaled)", name)


def _own(value: Any) -> Any:
    """A copy of what a model may empty while it reads it."""
    return copy(value) if isinstance(value, (dict, list)) else value


def _numbered(name: str, number: int) -> str:
    return f"{name}[{number}]" if number else name
