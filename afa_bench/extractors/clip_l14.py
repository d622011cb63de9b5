"""OpenAI's CLIP ViT-L/14: what CLIP-T, CLIP-I and AES are defined with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from afa_bench.extractors.clip_network import ClipNetwork
from afa_bench.fetch import HubFile, Source

WEIGHTS = HubFile(repo="timm/vit_large_patch14_clip_224.openai", file="open_clip_model.safetensors")


@dataclass
class ClipL14(ClipNetwork):
    """L2-normalised embeddings ``(B, 768)`` of the QuickGELU form of the network; without it the values are wrong.

    Images: PIL bicubic to a short side of 224, centre crop. Texts: cut to 77 tokens, the last one EOT.
    """

    name: ClassVar[str] = "clip-l14"
    version: ClassVar[int] = 1
    tag: ClassVar[str] = ""
    config: ClassVar[Mapping[str, Any]] = {
        "embed_dim": 768,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12},
    }

    @property
    def source(self) -> Source:
        """``open_clip_model.safetensors`` of the hub's ``timm/vit_large_patch14_clip_224.openai``."""
        return WEIGHTS
