"""HPSv2 (Wu et al. 2023), a human preference score: a CLIP ViT-H/14 trained on rankings of images of one prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from afa_bench.fetch import HubFile, Source
from afa_bench.metrics.base import Features, Floats, Metric
from afa_bench.metrics.clip_network import VIT_H14, ClipNetwork
from afa_bench.metrics.pixels import Fit, LongSide

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


class HPSv2(Metric):
    """100 times the cosine of an image's and its prompt's embedding.

    The official package answers with the cosine; papers print it times 100.

    Attributes:
        release: of the weights; v2.0 is the official package's default.
        antialias: of the resize on the tensor: ``modern`` has it, ``legacy`` (torchvision before 0.17, as in 2023) has not.
    """

    label: ClassVar[str] = "HPSv2"
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["per-sample", "set"]] = "per-sample"
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 2
    needs: ClassVar[tuple[Literal["texts", "paired"], ...]] = ("texts",)

    features: str = "hpsv2"
    release: Release = "v2.0"
    antialias: Antialias = "modern"

    @property
    def variant(self) -> str:
        """The release, and ``legacy`` where the resize is not antialiased."""
        return self.release if self.antialias == "modern" else f"{self.release}, legacy"

    @property
    def settings(self) -> dict[str, Any]:
        """The extractor's settings."""
        return {**super().settings, "release": self.release, "antialias": self.antialias}

    def per_sample(self, features: Features) -> Floats:
        """``(n,)`` scores."""
        scores: Floats = 100 * (features.generated("embedding") * features.texts()).sum(axis=1)
        return scores


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
