"""Stable Diffusion 1.5: a U-Net and one CLIP text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typing_extensions import override

from afa_bench.architectures.layout import Part
from afa_bench.architectures.ldm import ldm_layout
from afa_bench.architectures.tensors import Shapes, tensors_of
from afa_bench.architectures.unet import UNetArchitecture

CROSS = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"
SD2_WIDTH = 1024


class SD15(UNetArchitecture):
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
    def mistaken(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Folders of Stable Diffusion 2 have the same names; its text states are wider."""
        return "Stable Diffusion 2" if shapes.get(CROSS, (0,))[-1] == SD2_WIDTH else ""

    @override
    def shapes(self, part: Part, config: Mapping[str, Any]) -> Shapes:
        return tensors_of(part, config)
