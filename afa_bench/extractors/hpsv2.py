"""HPSv2's network (Wu et al. 2023): a CLIP ViT-H/14 trained on rankings of images of one prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from afa_bench.extractors.clip_network import VIT_H14, ClipNetwork
from afa_bench.extractors.pixels import Fit, LongSide
from afa_bench.fetch import HubFile, Source

Release: TypeAlias = Literal["v2.0", "v2.1"]
Antialias: TypeAlias = Literal["modern", "legacy"]

WEIGHTS: Mapping[Release, HubFile] = {
    "v2.0": HubFile(
        repo="xswu/HPSv2",
        file="HPS_v2_compressed.pt",
        size=1_972_484_501,
        sha256="07cb0d20626232204ca3a6ec53ff5984e7e53212a8a7b0e0ec2bac1bdaf125a1",
    ),
    "v2.1": HubFile(
        repo="xswu/HPSv2",
        file="HPS_v2.1_compressed.pt",
        size=1_972_490_005,
        sha256="c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837",
    ),
}


@dataclass
class HPSv2Clip(ClipNetwork):
    """L2-normalised embeddings ``(B, 1024)``. Images are resized on the tensor to a long side of 224 and padded with black."""

    name: ClassVar[str] = "hpsv2"
    version: ClassVar[int] = 1
    tag: ClassVar[str] = ""
    config: ClassVar[Mapping[str, Any]] = VIT_H14

    release: Release = "v2.0"
    antialias: Antialias = "modern"

    @property
    def source(self) -> Source:
        """The release's file of the hub's ``xswu/HPSv2``."""
        return WEIGHTS[self.release]

    def fit(self) -> Fit:
        """Long side, bicubic on the tensor, zero-padded before normalising."""
        return LongSide(self.config["vision_cfg"]["image_size"], antialias=self.antialias == "modern")
