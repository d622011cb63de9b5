"""CLIP-T and CLIP-I: raw cosines of CLIP embeddings (Radford et al. 2021), without the rescaling of CLIPScore."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from afa_bench.extractors.base import Floats
from afa_bench.metrics.base import Features, Metric


class _Cosine(Metric):
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["per-sample", "set"]] = "per-sample"
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = "cosine"
    digits: ClassVar[int] = 3
    reads: ClassVar[str] = "embedding"

    features: str = "clip-l14"


class ClipT(_Cosine):
    """Cosine of an image's and its prompt's embedding."""

    label: ClassVar[str] = "CLIP-T"
    needs: ClassVar[tuple[Literal["texts", "paired"], ...]] = ("texts",)

    @override
    def per_sample(self, features: Features) -> Floats:
        cosines: Floats = (features.generated(self.reads) * features.texts()).sum(axis=1)
        return cosines


class ClipI(_Cosine):
    """Cosine of a generated image's embedding and that of the prompt's own real image."""

    label: ClassVar[str] = "CLIP-I"
    needs: ClassVar[tuple[Literal["texts", "paired"], ...]] = ("paired",)

    @override
    def per_sample(self, features: Features) -> Floats:
        cosines: Floats = (features.generated(self.reads) * features.paired(self.reads)).sum(axis=1)
        return cosines
