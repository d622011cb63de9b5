"""Inception Score (Salimans et al. 2016): how sure and how varied a classifier's answers are."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from afa_bench.extractors.base import Floats
from afa_bench.metrics.base import Features, NoValue
from afa_bench.metrics.gaussian import batches, chosen
from afa_bench.metrics.inception import InceptionMetric
from afa_bench.metrics.interval import METHOD, Indices, set_interval
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
    reads: ClassVar[str] = "probabilities"

    splits: Annotated[int, Field(ge=1)] = 10

    @property
    @override
    def note(self) -> str | None:
        return f"{self.splits} split{'s' if self.splits > 1 else ''}; bounded by the images in a split; {METHOD}"

    @override
    def over_set(self, features: Features) -> Interval:
        probabilities = features.generated(self.reads)
        if len(probabilities) < self.splits:
            raise NoValue(f"{self.splits} splits take as many images at least, found {len(probabilities)}")
        return set_interval(lambda rows: score_of(probabilities, rows, min(self.splits, len(rows))), features.clusters, floor=1.0)


def split_of(n: int, splits: int) -> NDArray[np.int64]:
    """``(n,)`` the split of each image: even parts of a permutation, of which one split needs none."""
    split = np.zeros(n, dtype=np.int64)
    if splits > 1:
        order = np.random.RandomState(SEED).permutation(n)  # torch-fidelity's generator
        split[order] = np.searchsorted(np.arange(1, splits + 1) * n // splits, np.arange(n), side="right")
    return split


def inception_score(probabilities: Floats, splits: int = 10) -> float:
    """Mean over the splits of ``exp(E KL(p(y|x) || p(y)))``.

    Args:
        probabilities: ``(n, K)``, rows sum to 1.
        splits: even parts of a permutation with a fixed seed.
    """
    return score_of(probabilities, np.arange(len(probabilities)), splits)[0]


def score_of(probabilities: NDArray[np.floating[Any]], rows: Indices, splits: int) -> tuple[float, Floats]:
    """The score of some rows of ``(n, K)``, batch by batch, and each row's influence: what its split is without it."""
    import torch

    from afa_bench.metrics.moments import SplitScores

    state, split = SplitScores(splits, probabilities.shape[1]), split_of(len(rows), splits)
    for p, part in zip(chosen(probabilities, rows), batches(split), strict=True):
        state.update(torch.from_numpy(p), torch.from_numpy(part))
    scores, n = state.compute(), state.n.numpy()
    without = []
    for p, part in zip(chosen(probabilities, rows), batches(split), strict=True):
        without.append(state.without(torch.from_numpy(p), torch.from_numpy(part)))
    moved = (n[split] - 1) * (scores[split] - np.concatenate(without))
    return float(scores.mean()), moved * len(rows) / (splits * n[split])
