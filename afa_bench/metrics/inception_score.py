"""Inception Score (Salimans et al. 2016): how sure and how varied a classifier's answers are."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from afa_bench.metrics.base import Features, Floats, Metric
from afa_bench.metrics.resample import resampled_interval
from afa_bench.stats import Interval


class InceptionScore(Metric):
    """exp of the mean divergence of the class probabilities from their mean, averaged over ``splits``.

    Attributes:
        splits: parts of a seeded permutation of the images. The score is at most the images in a split.
    """

    label: ClassVar[str] = "IS"
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["per-sample", "set"]] = "set"
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 2

    features: str = "lite0"
    splits: Annotated[int, Field(ge=1)] = 10

    @property
    def note(self) -> str | None:
        """The split size bounds the score."""
        return f"{self.splits} split{'s' if self.splits > 1 else ''}; bounded by the images in a split"

    def over_set(self, features: Features) -> Interval | None:
        """The mean score over the splits; None where a split would be empty."""
        probabilities = features.generated("probabilities")
        if len(probabilities) < self.splits:
            return None
        return resampled_interval(
            lambda weights: inception_score(probabilities, self.splits, weights), len(probabilities), features.clusters
        )


def inception_score(probabilities: Floats, splits: int = 10, weights: Floats | None = None) -> float:
    """Mean over the splits of ``exp(E KL(p(y|x) || p(y)))``.

    Args:
        probabilities: ``(n, K)``, rows sum to 1.
        splits: even parts of a permutation with a fixed seed.
        weights: ``(n,)`` how often each row counts; once by default.
    """
    weights = np.ones(len(probabilities)) if weights is None else weights
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(probabilities))
    scores = []
    for part in np.array_split(order, splits):
        p, w = probabilities[part], weights[part]
        if not w.sum():
            continue
        w = w / w.sum()
        entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(axis=1)
        marginal = w @ p
        scores.append(np.exp(-(marginal * np.log(np.maximum(marginal, 1e-30))).sum() - w @ entropy))
    return float(np.mean(scores))
