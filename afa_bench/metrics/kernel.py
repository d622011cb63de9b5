"""Kernel distances of two sets of features: KID on Inception's (Bińkowski et al. 2018), CMMD on CLIP's (Jayasumana et al. 2024).

Both are squared maximum mean discrepancies. Unlike FID they are unbiased, or hardly biased, at a few hundred images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from afa_bench.extractors.base import Floats
from afa_bench.metrics.base import Features, Metric
from afa_bench.metrics.gaussian import Gaussian, batches
from afa_bench.metrics.inception import InceptionMetric
from afa_bench.metrics.resample import resampled_interval
from afa_bench.stats import Interval

SEED = 2020
"""torch-fidelity's, so that the same rows are drawn."""

MOST = 2_000
"""Above so many images CMMD has no interval: its kernel matrix is no longer kept."""


class KernelInceptionDistance(InceptionMetric):
    """Mean over random subsets of the unbiased discrepancy under the kernel ``(x.y / D + 1)^3``.

    Attributes:
        reference: the prompt set's real images, or their reconstructions by the pipeline's VAE.
        subsets: how many are drawn from either set.
        subset_size: rows of each. A set of generated images that is no larger is compared as a whole, with so many references.
    """

    label: ClassVar[str] = "KID"
    version: ClassVar[int] = 1
    direction: ClassVar[Literal["higher", "lower"]] = "lower"
    digits: ClassVar[int] = 4

    features: str = "inception"
    reference: Literal["real", "vae"] = "real"
    subsets: Annotated[int, Field(ge=1)] = 100
    subset_size: Annotated[int, Field(ge=2)] = 1_000

    @property
    def variant(self) -> str:
        """The resize, and ``VAE ref.`` for the reconstructed reference."""
        return ", ".join(part for part in (super().variant, "VAE ref." if self.reference == "vae" else "") if part)

    @property
    def note(self) -> str | None:
        """How large sets are compared."""
        mean = f"the mean over {self.subsets} subsets of so many, ±1.96 standard deviations of a subset"
        return f"above {self.subset_size} images {mean}"

    def over_set(self, features: Features) -> Interval | None:
        """The distance, or None for a prompt set without reference images."""
        reference = features.reference("pool", self.reference)
        if reference is None or isinstance(reference, Gaussian):
            return None
        generated = features.generated("pool")
        if min(len(generated), len(reference)) < 2:
            return Interval(np.nan, np.nan, np.nan, len(generated))
        if len(generated) <= self.subset_size:
            return kid_interval(generated, _rows(reference, self.subset_size), features.clusters)
        values = kernel_inception_distances(generated, reference, self.subsets, self.subset_size)
        value, spread = float(values.mean()), 1.96 * float(values.std())
        return Interval(value, value - spread, value + spread, len(generated))


class ClipMaximumMeanDiscrepancy(Metric):
    """The discrepancy under a Gaussian kernel of bandwidth 10 on L2-normalised CLIP embeddings, times 1000.

    The paper takes ViT-L/14 at 336 px; here it is the ViT-L/14 at 224 px of CLIP-T and CLIP-I, whose features are there already.
    """

    label: ClassVar[str] = "CMMD"
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["per-sample", "set"]] = "set"
    direction: ClassVar[Literal["higher", "lower"]] = "lower"
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 3

    features: str = "clip-l14"
    reference: Literal["real", "vae"] = "real"

    @property
    def variant(self) -> str:
        """``224 px`` for the published backbone, and ``VAE ref.`` for the reconstructed reference."""
        size = "224 px" if self.features == "clip-l14" else ""
        return ", ".join(part for part in (size, "VAE ref." if self.reference == "vae" else "") if part)

    def over_set(self, features: Features) -> Interval | None:
        """The distance, or None for a prompt set without reference images."""
        reference = features.reference("embedding", self.reference)
        if reference is None or isinstance(reference, Gaussian):
            return None
        return cmmd_interval(features.generated("embedding"), reference, features.clusters)


def kernel_inception_distances(a: Floats, b: Floats, subsets: int = 100, size: int = 1_000) -> Floats:
    """``(subsets,)`` unbiased squared discrepancies of seeded subsets of ``a`` ``(n, D)`` and ``b`` ``(m, D)``."""
    rng = np.random.RandomState(SEED)  # the generator that torch-fidelity draws with
    values = []
    for _ in range(subsets):
        x, y = a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)]
        values.append(_unbiased(_cubic(x, x)) + _unbiased(_cubic(y, y)) - 2 * float(_cubic(x, y).mean()))
    return np.array(values)


def kid_interval(a: Floats, b: Floats, clusters: Sequence[str]) -> Interval:
    """KID of all rows of ``a`` ``(n, D)`` and ``b`` ``(m, D)``, with a 95% interval over resampled rows of ``a``."""
    kernel, across, own = _cubic(a, a), _cubic(a, b).mean(axis=1), _unbiased(_cubic(b, b))
    diagonal = np.diag(kernel)

    def statistic(w: Floats) -> float:
        n = w.sum()
        return float((w @ kernel @ w - w @ diagonal) / (n * (n - 1)) + own - 2 * w @ across / n)

    return resampled_interval(statistic, len(a), clusters)


def cmmd_interval(a: Floats, b: Floats, clusters: Sequence[str]) -> Interval:
    """CMMD of embeddings ``(n, D)`` and ``(m, D)``, with a 95% interval over resampled rows of ``a``."""
    across, own = _row_means(a, b), float(_row_means(b, b).mean())
    if len(a) > MOST:
        within = float(_row_means(a, a).mean())
        return Interval(1000 * (within + own - 2 * float(across.mean())), np.nan, np.nan, len(a))
    kernel = _gaussian(a, a)

    def statistic(weights: Floats) -> float:
        w = weights / weights.sum()
        return float(1000 * (w @ kernel @ w + own - 2 * w @ across))

    return resampled_interval(statistic, len(a), clusters)


def _row_means(x: Floats, y: Floats) -> Floats:
    """``(n,)`` each row's mean Gaussian kernel with all rows of ``y``; no more than a block of the kernel is in memory."""
    sums = [sum(_gaussian(rows, others).sum(axis=1) for others in batches(y)) for rows in batches(x)]
    means: Floats = np.concatenate(sums) / len(y)
    return means


def _rows(features: Floats, most: int) -> Floats:
    """All rows, or a seeded draw of so many."""
    if len(features) <= most:
        return features
    return features[np.random.RandomState(SEED).choice(len(features), most, replace=False)]


def _unbiased(kernel: Floats) -> float:
    """Mean off the diagonal."""
    return float(kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))


def _cubic(x: Floats, y: Floats) -> Floats:
    x, y = x.astype(np.float64), y.astype(np.float64)  # float32 where very many rows lie in a file
    kernel: Floats = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _gaussian(x: Floats, y: Floats, bandwidth: float = 10.0) -> Floats:
    x, y = x.astype(np.float64), y.astype(np.float64)
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2 * x @ y.T
    kernel: Floats = np.exp(-squares / (2 * bandwidth**2))
    return kernel
