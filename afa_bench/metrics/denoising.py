"""Held-out denoising loss: how well a denoiser predicts the noise in real images that it has never seen (the paper's equation 1).

The most sensitive measure of a denoiser: no sampler, no VAE decoder and no scoring model stands between, and every method gets
the same images, noise and timesteps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from afa_bench.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from afa_bench.architectures.objective import Conditions, Denoise, Objective


class DenoisingLoss(Metric):
    """Mean squared error of the predicted noise, over evenly spaced timesteps.

    Attributes:
        timesteps: how many of the schedule's timesteps, each in the middle of an equal share.
    """

    label: ClassVar[str] = "Denoising loss"
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["per-sample", "set"]] = "per-sample"
    direction: ClassVar[Literal["higher", "lower"]] = "lower"
    unit: ClassVar[str] = "mean squared error"
    digits: ClassVar[int] = 4
    task: ClassVar[Literal["generate", "denoise"]] = "denoise"

    timesteps: Annotated[int, Field(ge=1, le=1000)] = 8

    def grid(self, total: int) -> list[int]:
        """The timesteps, of a schedule of ``total``."""
        return [int((i + 0.5) * total / self.timesteps) for i in range(self.timesteps)]


def denoising_losses(
    denoise: Denoise,
    latents: Tensor,
    conditions: Conditions,
    seeds: Sequence[Sequence[int]],
    timesteps: Sequence[int],
    objective: Objective,
) -> Tensor:
    """Squared error of the predicted noise (or velocity) of B images at T timesteps, averaged over latent pixels.

    Args:
        denoise: stands in for ``pipe.unet``.
        latents: ``(B, C, H, W)`` of the clean images, scaled as the VAE's configuration says.
        conditions: of the images.
        seeds: B rows of T seeds, one noise each.
        timesteps: T of them.
        objective: how latents are noised, and what is predicted.

    Returns:
        ``(B, T)`` in fp32, on the CPU.
    """
    import torch

    columns = []
    for column, step in enumerate(timesteps):
        noise = torch.stack([_noise(row[column], latents[0]) for row in seeds]).to(latents)
        times = torch.full((len(latents),), step, device=latents.device, dtype=torch.long)
        with torch.no_grad():
            predicted = objective.predict(denoise, objective.noisy(latents, noise, times), times, conditions)
        target = objective.target(latents, noise, times)
        columns.append((predicted.float() - target.float()).square().mean(dim=(1, 2, 3)).cpu())
    return torch.stack(columns, dim=1)


def _noise(seed: int, like: Tensor) -> Tensor:
    """Standard normal noise of the shape of ``like``, from its own generator on the CPU."""
    import torch

    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
