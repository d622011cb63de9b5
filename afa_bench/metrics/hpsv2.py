"""HPSv2 (Wu et al. 2023), a human preference score: a CLIP ViT-H/14 trained on rankings of images of one prompt."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from typing_extensions import override

from afa_bench.extractors.base import Floats
from afa_bench.extractors.hpsv2 import Antialias, Release
from afa_bench.metrics.base import Features, Metric


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
    reads: ClassVar[str] = "embedding"
    needs: ClassVar[tuple[Literal["texts", "paired"], ...]] = ("texts",)

    features: str = "hpsv2"
    release: Release = "v2.0"
    antialias: Antialias = "modern"

    @property
    @override
    def variant(self) -> str:
        return self.release if self.antialias == "modern" else f"{self.release}, legacy"

    @property
    @override
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "release": self.release, "antialias": self.antialias}

    @override
    def per_sample(self, features: Features) -> Floats:
        scores: Floats = 100 * (features.generated(self.reads) * features.texts()).sum(axis=1)
        return scores
