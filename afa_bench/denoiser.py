"""What stands in for a stock pipeline's denoiser: a model, a merge or an ensemble, with the text encoders that it listens to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from afa_bench.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Denoiser:
    """What a method builds.

    Attributes:
        unet: called as ``unet(sample, timestep, encoder_hidden_states, ...)``; ``sample`` is ``(B, C, H, W)``.
        text_encoders: their last hidden states, each ``(B, L, D)``, are concatenated along the last axis in this order and
            passed as ``encoder_hidden_states`` ``(B, L, len(text_encoders) * D)``; the denoiser takes its own part.
        guide: told the guidance scale before images are sampled, where the method has ``needs_guidance``.
    """

    unet: nn.Module
    text_encoders: Sequence[nn.Module]
    guide: Callable[[float], None] | None = None


def require_denoiser(denoiser: Denoiser, where: str) -> None:
    """Raise a UserError for something that a plug-in built and that is no denoiser."""
    if not isinstance(denoiser, Denoiser):
        raise UserError(f"{where}: build: expected a Denoiser, found {denoiser!r}")
    for name in ("config", "dtype", "device"):
        if not hasattr(denoiser.unet, name):
            raise UserError(f"{where}: build: {type(denoiser.unet).__name__} has no {name!r}; expected what a stock denoiser has")
