"""The loss (the paper, equation 12): the squared error of the predicted noise, or velocity, at uniformly drawn timesteps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from afa_bench.errors import UserError


@dataclass(frozen=True)
class Draw:
    """What is random about a batch: timesteps ``(B,)``, noise ``(B, C, H, W)``, whose text is dropped ``(B,)``."""

    timesteps: Tensor
    noise: Tensor
    dropped: Tensor

    @classmethod
    def of(cls, shape: torch.Size, timesteps: int, text_dropout: float, random: torch.Generator) -> Draw:
        """Drawn from a generator on the CPU, hence the same for every device.

        Args:
            shape: of the batch's latents, ``(B, C, H, W)``.
            timesteps: of the schedule; all are equally likely.
            text_dropout: the share of samples whose text is replaced by the empty prompt, drawn for each sample.
            random: where it comes from.
        """
        return cls(
            timesteps=torch.randint(timesteps, shape[:1], generator=random),
            noise=torch.randn(shape, generator=random),
            dropped=torch.rand(shape[:1], generator=random) < text_dropout,
        )

    def __getitem__(self, rows: slice) -> Draw:
        """That part of the batch."""
        return Draw(self.timesteps[rows], self.noise[rows], self.dropped[rows])


def denoising_loss(
    denoise: Callable[..., Any], scheduler: Any, latents: Tensor, text: Tensor, empty: Tensor, drawn: Draw
) -> Tensor:
    """The mean squared error in fp32.

    Args:
        denoise: called as ``pipe.unet`` is.
        scheduler: of diffusers: its noise schedule and prediction type.
        latents: ``(B, C, H, W)``, scaled as the denoiser sees them.
        text: ``(B, L, D)``.
        empty: the empty prompt's states ``(1, L, D)``.
        drawn: the batch's randomness.

    Raises:
        UserError: a prediction type other than epsilon and v_prediction.
    """
    kind = scheduler.config.get("prediction_type", "epsilon")
    if kind not in ("epsilon", "v_prediction"):
        raise UserError(f"train: prediction_type: {kind}; expected epsilon or v_prediction")
    timesteps, noise = drawn.timesteps.to(latents.device), drawn.noise.to(latents)
    text = torch.where(drawn.dropped.to(text.device)[:, None, None], empty.to(text), text)
    predicted = denoise(scheduler.add_noise(latents, noise, timesteps), timesteps, text, return_dict=False)[0]
    target = noise if kind == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
    return mse_loss(predicted.float(), target.float())
