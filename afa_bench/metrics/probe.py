"""What a metric of a denoiser is given: the denoiser, and real images that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from afa_bench.identity import seed_of

if TYPE_CHECKING:
    from torch import Tensor

    from afa_bench.architectures.objective import Conditions, Denoise, Objective


@dataclass(frozen=True)
class DenoiserProbe:
    """A denoiser of whichever architecture, and B real images.

    Attributes:
        denoise: called as the pipeline's U-Net or transformer is; ``objective.predict`` knows how.
        objective: how latents are noised, what is predicted and what would be right.
        latents: ``(B, C, H, W)`` of the images, as the denoiser sees them.
        conditions: what it is told about them.
        seeds: of the B samples.
    """

    denoise: Denoise
    objective: Objective
    latents: Tensor
    conditions: Conditions
    seeds: Sequence[int]

    def noise(self, *key: str | int) -> Tensor:
        """Standard normal noise ``(B, C, H, W)``, each sample's from its own generator on the CPU: the same for all methods.

        Args:
            key: tells one noise of a sample from another, such as a timestep.
        """
        import torch

        generators = [torch.Generator().manual_seed(seed_of(seed, "denoise", *key)) for seed in self.seeds]
        drawn = [torch.randn(self.latents.shape[1:], generator=generator) for generator in generators]
        return torch.stack(drawn).to(self.latents)

    def predict(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser says ``(B, C, H, W)`` of noisy latents at timesteps ``(B,)``, without gradients."""
        import torch

        with torch.no_grad():
            return self.objective.predict(self.denoise, noisy, timesteps, self.conditions)
