"""What the set metrics on Inception's features (FID, KID, IS) have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

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

    resize: Resize = CLEAN

    @property
    def variant(self) -> str:
        """The resize, where it is not clean-fid's."""
        return "" if self.resize == CLEAN else self.resize

    @property
    def settings(self) -> dict[str, Any]:
        """The extractor's settings."""
        if self.features != Inception.name and self.resize != CLEAN:
            raise UserError(f"{self.label}: resize: only features: {Inception.name} has resizes to choose from")
        return {**super().settings, **({"resize": self.resize} if self.features == Inception.name else {})}

    def identity(self) -> dict[str, Any]:
        """Everything that fixes this metric's values for given images."""
        found = super().identity()
        if self.resize == CLEAN:
            del found["options"]["resize"]  # what was computed before there was a choice is the same
        return found
