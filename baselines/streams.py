"""U-Nets which run side by side, each on the latents alone, and meet in their predictions."""

from __future__ import annotations

from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor

from afa_bench.ensembles.base import average
from afa_bench.ensembles.unets import UNets


class NoiseAverageUNet(UNets):
    """The mean of N U-Nets' predictions. Any configuration which the stock U-Net knows."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        *conditions: Any,
        return_dict: bool = True,
        **named: Any,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """The ensemble's prediction for ``sample`` ``(B, C, H, W)``: arguments and result as those of the stock U-Net."""
        hidden = average(self.each(sample, timestep, encoder_hidden_states, *conditions, **named))
        return UNet2DConditionOutput(sample=hidden) if return_dict else (hidden,)
