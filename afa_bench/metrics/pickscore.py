"""PickScore (Kirstain et al. 2023): a CLIP ViT-H/14 trained on what people picked from two images of their own prompt."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from afa_bench.extractors.base import Floats
from afa_bench.metrics.base import Features, Metric


class PickScore(Metric):
    """``exp(logit_scale)`` (about 100) times the cosine of an image's and its prompt's embedding."""

    label: ClassVar[str] = "PickScore"
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["per-sample", "set"]] = "per-sample"
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 2
    reads: ClassVar[str] = "scaled"
    needs: ClassVar[tuple[Literal["texts", "paired"], ...]] = ("texts",)

    features: str = "pickscore"

    @override
    def per_sample(self, features: Features) -> Floats:
        scores: Floats = (features.generated(self.reads) * features.texts()).sum(axis=1)
        return scores
