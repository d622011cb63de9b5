"""U-Nets which run side by side, each on the latents alone, and meet in their predictions."""

from __future__ import annotations

from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor

from afa_bench.afa.ensemble import UNets, average

ADAPTERS = ("down_intrablock_additional_residuals", "down_block_additional_residuals")


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
        predictions = [
            unet(sample, timestep, text, *conditions, return_dict=False, **own(named))[0]
            for unet, text in zip(self.unets, self.texts(encoder_hidden_states), strict=True)
        ]
        hidden = average(predictions)
        return UNet2DConditionOutput(sample=hidden) if return_dict else (hidden,)


def own(named: dict[str, Any]) -> dict[str, Any]:
    """The stock U-Net empties the list of adapter residuals which it is given: each model gets its own list."""
    return {key: list(value) if key in ADAPTERS and value is not None else value for key, value in named.items()}
