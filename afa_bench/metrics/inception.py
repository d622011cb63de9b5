"""What the set metrics on Inception's features (FID, KID, IS) have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from typing_extensions import override

from afa_bench.errors import UserError
from afa_bench.extractors.inception import CLEAN, Inception, Resize
from afa_bench.metrics.base import Metric


class InceptionMetric(Metric):
    """Base class of the set metrics on Inception's features; each also takes the features of another extractor.

    Attributes:
        resize: whose: ``clean`` is clean-fid's (Parmar et al. 2022), ``torch-fidelity`` that of the TensorFlow graph of 2015,
            ``pytorch-fid`` a bilinear one with half-pixel centres.
    """

    kind: ClassVar[Literal["per-sample", "set"]] = "set"
    unit: ClassVar[str] = ""

    features: str = Inception.name
    resize: Resize = CLEAN

    @property
    @override
    def variant(self) -> str:
        return "" if self.resize == CLEAN else self.resize

    @property
    @override
    def settings(self) -> dict[str, Any]:
        if self.features != Inception.name and self.resize != CLEAN:
            raise UserError(f"{self.label}: resize: only features: {Inception.name} has resizes to choose from")
        return {**super().settings, **({"resize": self.resize} if self.features == Inception.name else {})}

    @override
    def identity(self) -> dict[str, Any]:
        found = super().identity()
        if self.resize == CLEAN:
            del found["options"]["resize"]  # what was computed before there was a choice is the same
        return found
