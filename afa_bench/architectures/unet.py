"""Architectures whose denoiser is a U-Net of Stable Diffusion's kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from afa_bench.architectures.base import Architecture
from afa_bench.architectures.layout import Layout
from afa_bench.architectures.ldm import layout_of_unet

if TYPE_CHECKING:
    from torch import nn


class UNetArchitecture(Architecture):
    """Base class of architectures with a ``UNet2DConditionModel``, seen as the blocks of the paper (section 3.2)."""

    @override
    def view(self, denoiser: nn.Module) -> Any:
        from afa_bench.architectures.unet_blocks import BlockView

        return BlockView(denoiser)

    @override
    def layout_in_memory(self, denoiser: Any) -> Layout | None:
        return layout_of_unet(denoiser.config)
