"""N text encoders in the place of one: how an ensemble's own texts travel through a stock pipeline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from afa_bench.ensembles.stock import StandIn
from afa_bench.errors import UserError


class EnsembleEncoder(ModelMixin, ConfigMixin, metaclass=StandIn):  # type: ignore[misc]
    """N text encoders of one architecture as one whose states are theirs side by side: what ``pipe.text_encoder`` can be set to.

    Args:
        encoders: of transformers, in the order of the models; one that is there several times runs once.
    """

    stands_for = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        distinct = list({id(encoder): encoder for encoder in encoders}.values())
        ids = [id(encoder) for encoder in distinct]
        self.encoders = nn.ModuleList(distinct)
        self.places = [ids.index(id(encoder)) for encoder in encoders]

    @property
    def first(self) -> Any:
        """The first encoder; the others are alike."""
        return self.encoders[0]

    @property
    def config(self) -> Any:
        return self.first.config

    def to_json_string(self) -> str:
        """``config.json``: the encoders' class and configuration, and which of those that are saved is each model's."""
        about = {"_class_name": type(self).__name__, "model": type(self.first).__name__, "places": self.places}
        return json.dumps({**about, "config": self.config.to_dict()}, indent=2, sort_keys=True, default=str) + "\n"

    @classmethod
    def from_config(cls, config: Any, return_unused_kwargs: bool = False, **named: Any) -> Any:
        """With fresh weights, of what :meth:`to_json_string` says.

        Raises:
            UserError: it says no such thing.
        """
        import transformers

        kind: Any = getattr(transformers, str(config.get("model")), None)
        places = config.get("places")
        if not places or not hasattr(kind, "config_class"):
            raise UserError(
                f"{cls.__name__}: config.json: model, places: expected a class of transformers and the models' places"
            )
        own = {key: value for key, value in config["config"].items() if key != "dtype"}
        encoders = [kind(kind.config_class.from_dict(own)) for _ in range(max(places) + 1)]
        made = cls([encoders[place] for place in places])
        return (made, {}) if return_unused_kwargs else made

    @property
    def dtype(self) -> torch.dtype:
        return self.first.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        return self.first.device  # type: ignore[no-any-return]

    @property
    def text_model(self) -> EnsembleEncoder:
        """Where a stock pipeline looks for the final norm when it skips layers (``clip_skip``)."""
        return self

    def final_layer_norm(self, states: Tensor) -> Tensor:
        """Each encoder's final norm on its own part of ``states`` ``(B, L, N * D)``."""
        models: list[Any] = [getattr(self.encoders[place], "text_model", self.encoders[place]) for place in self.places]
        own = states.chunk(len(models), dim=-1)
        return torch.cat([model.final_layer_norm(its) for model, its in zip(models, own, strict=True)], dim=-1)

    def load_adapter(self, *args: Any, **named: Any) -> None:
        """Raise a UserError: a LoRA's part for text encoders belongs to one model's."""
        raise UserError("EnsembleEncoder: a LoRA for text encoders is not supported: fuse it into its model first")

    def forward(self, *args: Any, **named: Any) -> Any:
        """An encoder's output; each tensor in it is the N encoders' own side by side on the last axis."""
        distinct = [encoder(*args, **named) for encoder in self.encoders]
        outputs = [distinct[place] for place in self.places]
        return type(outputs[0])(**{key: _side_by_side([output[key] for output in outputs]) for key in outputs[0]})


def _side_by_side(values: Sequence[Any]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(_side_by_side(own) for own in zip(*values, strict=True))
    return torch.cat(list(values), dim=-1)
