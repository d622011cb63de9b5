"""N text encoders in the place of one: how an ensemble's own texts travel through a stock pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class EnsembleEncoder(nn.Module):
    """N text encoders of one architecture as one whose states are theirs side by side: what ``pipe.text_encoder`` can be set to.

    Args:
        encoders: of transformers, in the order of the models; one that is there several times runs once.
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    @property
    def first(self) -> Any:
        """The first encoder; the others are alike."""
        return self.encoders[0]

    @property
    def config(self) -> Any:
        return self.first.config

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
        models: list[Any] = [getattr(encoder, "text_model", encoder) for encoder in self.encoders]
        own = states.chunk(len(models), dim=-1)
        return torch.cat([model.final_layer_norm(its) for model, its in zip(models, own, strict=True)], dim=-1)

    def forward(self, *args: Any, **named: Any) -> Any:
        """An encoder's output; each tensor in it is the N encoders' own side by side on the last axis."""
        distinct = {id(encoder): encoder(*args, **named) for encoder in self.encoders}
        outputs = [distinct[id(encoder)] for encoder in self.encoders]
        return type(outputs[0])(**{key: _side_by_side([output[key] for output in outputs]) for key in outputs[0]})


def _side_by_side(values: Sequence[Any]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(_side_by_side(own) for own in zip(*values, strict=True))
    return torch.cat(list(values), dim=-1)
