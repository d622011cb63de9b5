"""Held-out denoising loss: how well a denoiser predicts the noise in real images that it has never seen (the paper's equation 1).

The most sensitive measure of a denoiser: no sampler, no VAE decoder and no scoring model stands between, and every method gets
the same images, noise and timesteps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from afa_bench.extractors.base import Floats
from afa_bench.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from afa_bench.metrics.probe import DenoiserProbe


class DenoisingLoss(Metric):
    """Mean squared error of what is predicted (the noise, or a velocity), over evenly spaced timesteps.

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

    @override
    def of_denoiser(self, probe: DenoiserProbe) -> Mapping[str, Floats]:
        """The mean, and a column a timestep."""
        grid = self.grid(probe.objective.timesteps)
        losses = np.stack([loss_at(probe, step).double().numpy() for step in grid])  # (T, B)
        columns = {f"{self.key}_t{step:03d}": values for step, values in zip(grid, losses, strict=True)}
        return {self.key: np.array([np.mean(own) for own in losses.T.copy()]), **columns}


def loss_at(probe: DenoiserProbe, timestep: int) -> Tensor:
    """``(B,)`` the squared error at a timestep, averaged over latent pixels, in fp32 on the CPU."""
    import torch

    noise, times = probe.noise(timestep), torch.full((len(probe.latents),), timestep, device=probe.latents.device)
    predicted = probe.predict(probe.objective.noisy(probe.latents, noise, times), times)
    target = probe.objective.target(probe.latents, noise, times)
    return (predicted.float() - target.float()).square().mean(dim=(1, 2, 3)).cpu()
