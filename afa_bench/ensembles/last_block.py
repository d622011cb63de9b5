"""Only ensembling the last block (the paper, table 3): N U-Nets run side by side, and SABW weighs their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from afa_bench.afa.sabw import SABW
from afa_bench.ensembles.unets import BlockUNets


class LastBlockUNet(BlockUNets):
    """N U-Nets of which each has a stream of its own; the N predictions are aggregated into one.

    Args:
        unets: diffusers' ``UNet2DConditionModel`` of one configuration.
        sabw: made with ``last_only``.
        text_widths: see :class:`afa_bench.ensembles.unets.UNets`.

    Raises:
        UserError: the models differ; the message names the first difference.
    """

    def __init__(self, unets: Sequence[nn.Module], sabw: SABW, text_widths: Sequence[int] | None = None) -> None:
        super().__init__(unets, text_widths)
        self.aggregate = sabw

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None = None,
        timestep_cond: Tensor | None = None,
        *conditions: Any,
        return_dict: bool = True,
        **named: Any,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """The ensemble's prediction for ``sample`` ``(B, C, H, W)``: arguments and result as those of the stock U-Net."""
        added, common = named.get("added_cond_kwargs"), {"class_labels": class_labels, "timestep_cond": timestep_cond}
        _, temb, text = self.conditions(sample, timestep, encoder_hidden_states, added, **common)
        noises = self.each(sample, timestep, encoder_hidden_states, class_labels, timestep_cond, *conditions, **named)
        hidden = self.aggregate(len(self.views[0]) - 1, noises, temb, self.aggregate.context(text))
        return UNet2DConditionOutput(sample=hidden) if return_dict else (hidden,)
