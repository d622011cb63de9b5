"""The loss (the paper, equation 12): the squared error of what is predicted, at uniformly drawn timesteps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from afa_bench.architectures.objective import Conditions, Denoise, Objective


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
    denoise: Denoise, objective: Objective, latents: Tensor, conditions: Conditions, empty: Conditions, drawn: Draw
) -> Tensor:
    """The mean squared error in fp32.

    Args:
        denoise: called as ``pipe.unet`` is.
        objective: how latents are noised, and what is predicted.
        latents: ``(B, C, H, W)``, scaled as the denoiser sees them.
        conditions: of the latents.
        empty: what the empty prompt has in the place of some of them, one row each.
        drawn: the batch's randomness.
    """
    timesteps, noise = drawn.timesteps.to(latents.device), drawn.noise.to(latents)
    given = without_text(conditions, empty, drawn.dropped)
    predicted = objective.predict(denoise, objective.noisy(latents, noise, timesteps), timesteps, given)
    return mse_loss(predicted.float(), objective.target(latents, noise, timesteps).float())


def without_text(conditions: Conditions, empty: Conditions, dropped: Tensor) -> Conditions:
    """The conditions, with what the empty prompt has in their place in the rows where ``dropped`` ``(B,)`` is true."""

    def kept(name: str, value: Tensor) -> Tensor:
        rows = dropped.to(value.device).view(-1, *(1,) * (value.dim() - 1))
        return torch.where(rows, empty[name].to(value), value) if name in empty else value

    return {name: kept(name, value) for name, value in conditions.items()}
