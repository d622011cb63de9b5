"""Inception Score (Salimans et al. 2016): how sure and how varied a classifier's answers are."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from afa_bench.extractors.base import Floats
from afa_bench.metrics.base import Features
from afa_bench.metrics.gaussian import batches
from afa_bench.metrics.inception import InceptionMetric
from afa_bench.metrics.resample import MOST, resampled_interval
from afa_bench.stats import Interval

SEED = 2020
"""Of the permutation; torch-fidelity's, so that the same images are in a split."""


class InceptionScore(InceptionMetric):
    """exp of the mean divergence of the class probabilities from their mean, averaged over ``splits``.

    Attributes:
        splits: parts of a seeded permutation of the images. The score is at most the images in a split.
    """

    label: ClassVar[str] = "IS"
    version: ClassVar[int] = 1
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    digits: ClassVar[int] = 2

    features: str = "inception"
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
        if len(probabilities) > MOST:
            return Interval(streamed_score(probabilities, self.splits), np.nan, np.nan, len(probabilities))
        return resampled_interval(
            lambda weights: inception_score(probabilities, self.splits, weights), len(probabilities), features.clusters
        )


def split_of(n: int, splits: int) -> NDArray[np.int64]:
    """``(n,)`` the split of each image: even parts of a permutation, of which one split needs none."""
    split = np.zeros(n, dtype=np.int64)
    if splits > 1:
        order = np.random.RandomState(SEED).permutation(n)  # torch-fidelity's generator
        split[order] = np.searchsorted(np.arange(1, splits + 1) * n // splits, np.arange(n), side="right")
    return split


def inception_score(probabilities: Floats, splits: int = 10, weights: Floats | None = None) -> float:
    """Mean over the splits of ``exp(E KL(p(y|x) || p(y)))``.

    Args:
        probabilities: ``(n, K)``, rows sum to 1.
        splits: even parts of a permutation with a fixed seed.
        weights: ``(n,)`` how often each row counts; once by default.
    """
    weights = np.ones(len(probabilities)) if weights is None else weights
    split = split_of(len(probabilities), splits)
    scores = []
    for part in range(splits):
        p, w = probabilities[split == part], weights[split == part]
        if not w.sum():
            continue
        w = w / w.sum()
        entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(axis=1)
        marginal = w @ p
        scores.append(np.exp(-(marginal * np.log(np.maximum(marginal, 1e-30))).sum() - w @ entropy))
    return float(np.mean(scores))


def streamed_score(probabilities: Floats, splits: int) -> float:
    """The same from a streaming state, batch by batch."""
    import torch

    from afa_bench.metrics.moments import SplitScores

    state, split = SplitScores(splits, probabilities.shape[1]), split_of(len(probabilities), splits)
    for p, part in zip(batches(probabilities), batches(split), strict=True):
        state.update(torch.from_numpy(p), torch.from_numpy(part))
    return float(state.compute().mean())
