"""ImageReward (Xu et al. 2023): BLIP reads a caption with cross-attention to the image, a regression gives the reward."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from afa_bench.extractors.base import Floats
from afa_bench.metrics.base import Features, Metric

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the rewards over the authors' data: the reward that is reported is standardised with them."""


class ImageReward(Metric):
    """The standardised reward of an image for its prompt."""

    label: ClassVar[str] = "ImageReward"
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["per-sample", "set"]] = "per-sample"
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 3
    reads: ClassVar[str] = "reward"

    features: str = "imagereward"

    @override
    def per_sample(self, features: Features) -> Floats:
        rewards: Floats = (features.generated(self.reads)[:, 0] - MEAN) / STD
        return rewards
