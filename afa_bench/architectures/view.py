"""Any supported denoiser as a list of blocks."""

from __future__ import annotations

from torch import nn

from afa_bench.architectures.flux_blocks import FluxView
from afa_bench.architectures.unet_blocks import BlockView


def view_of(model: nn.Module) -> BlockView | FluxView:
    """The blocks of a ``UNet2DConditionModel`` or of a ``FluxTransformer2DModel``.

    Raises:
        UserError: the model has a part which cannot be seen as blocks; the message names it.
    """
    return FluxView(model) if hasattr(model, "transformer_blocks") else BlockView(model)
