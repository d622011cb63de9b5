"""Small aggregators, and a stranger's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tiny import tiny_unet

from afa_bench.afa.sabw import SABW


def randomised(sabw: SABW, seed: int = 0, scale: float = 0.3) -> SABW:
    """Weights far from their start, the last convolutions' zeros included."""
    random = torch.Generator().manual_seed(seed)
    for parameter in sabw.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=random) * scale)
    return sabw.eval().requires_grad_(False)


def tiny_sabw(n_models: int = 3, **settings: Any) -> SABW:
    torch.manual_seed(1)
    return SABW.for_model(tiny_unet(0), n_models, **{"hidden": 16, **settings})


class Pick:
    """A stranger's aggregator, which inherits nothing of ours: one model has all the weight."""

    last_only = False

    def __init__(self, number: int) -> None:
        self.number = number
        self.shapes: list[torch.Size] = []
        self.given: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.prepared = 0

    def require_fit(self, model: torch.nn.Module, n_models: int) -> None:
        assert self.number < n_models

    def context(self, text: torch.Tensor) -> torch.Tensor:
        self.prepared += 1
        return text

    def maps(self, index: int, features: Sequence[torch.Tensor], temb: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        assert index == len(self.shapes)
        self.shapes.append(features[0].shape)
        self.given.append((temb, context))
        return torch.eye(len(features))[self.number].view(1, -1, 1, 1)
