"""Small aggregators."""

from __future__ import annotations

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
