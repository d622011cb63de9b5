"""Stable Diffusion 1.5: a U-Net and one CLIP text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import override

from afa_bench.architectures.base import Architecture
from afa_bench.architectures.layout import UNET, Layout, Part, layout_of_unet, ldm_layout
from afa_bench.architectures.tensors import Shapes, tensors_of
from afa_bench.errors import UserError

SD2_WIDTH = 1024
"""Of the text states of Stable Diffusion 2, whose folders have the names of 1.5."""

CROSS = UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"


class SD15(Architecture):
    name = "sd15"
    title = "SD 1.5"
    version = 0
    pipeline = "StableDiffusionPipeline"
    # The safety checker would blacken images and spoil the metrics.
    pipeline_options: ClassVar = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    rate = 34.0  # a V100: the paper's table 9 has 2.94 s for an image of 50 guided steps
    marks = ("cond_stage_model.",)
    layout = ldm_layout("SD 1.5", (True, True, True, False), {"text_encoder": "cond_stage_model.transformer."})

    @override
    def require_own(self, shapes: Mapping[str, Sequence[int]], where: str) -> None:
        if CROSS in shapes and shapes[CROSS][-1] == SD2_WIDTH:
            raise UserError(f"{where}: is a model of Stable Diffusion 2; expected SD 1.5 or SDXL")

    @override
    def shapes(self, part: Part, config: Mapping[str, Any]) -> Shapes:
        return tensors_of(part, config)

    @override
    def layout_in_memory(self, denoiser: Any) -> Layout:
        return layout_of_unet(denoiser.config)
