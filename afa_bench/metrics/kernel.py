"""Kernel distances of two sets of features: KID on Inception's (Bińkowski et al. 2018), CMMD on CLIP's (Jayasumana et al. 2024).

Both are squared maximum mean discrepancies. Unlike FID they are unbiased, or hardly biased, at a few hundred images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from afa_bench.extractors.base import POOL, Floats
from afa_bench.metrics.base import Features, Metric, NoValue
from afa_bench.metrics.gaussian import Gaussian, chosen
from afa_bench.metrics.inception import InceptionMetric
from afa_bench.metrics.interval import METHOD, Indices, set_interval
from afa_bench.stats import Interval

Rows = NDArray[np.floating[Any]]

SEED = 2020
"""torch-fidelity's, so that the same rows are drawn."""


class KernelInceptionDistance(InceptionMetric):
    """Mean over random subsets of the unbiased discrepancy under the kernel ``(x.y / D + 1)^3``.

    Attributes:
        reference: the prompt set's real images, or their reconstructions by the pipeline's VAE.
        subsets: how many are drawn from either set.
        subset_size: rows of each; fewer where there are fewer references. A set of generated images that is no larger is compared
            as a whole, with so many references.
    """

    label: ClassVar[str] = "KID"
    version: ClassVar[int] = 2
    direction: ClassVar[Literal["higher", "lower"]] = "lower"
    digits: ClassVar[int] = 4
    reads: ClassVar[str] = POOL

    reference: Literal["real", "vae"] = "real"
    subsets: Annotated[int, Field(ge=1)] = 100
    subset_size: Annotated[int, Field(ge=2)] = 1_000

    @property
    @override
    def variant(self) -> str:
        return ", ".join(part for part in (super().variant, "VAE ref." if self.reference == "vae" else "") if part)

    @property
    @override
    def note(self) -> str | None:
        return f"above {self.subset_size} images the mean over {self.subsets} subsets of so many; {METHOD}"

    @override
    def over_set(self, features: Features) -> Interval:
        reference, generated = _both(self, features)
        return set_interval(
            lambda rows: kernel_inception_distance(generated, reference, rows, self.subsets, self.subset_size), features.clusters
        )


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
    reads: ClassVar[str] = "embedding"

    features: str = "clip-l14"
    reference: Literal["real", "vae"] = "real"

    @property
    @override
    def variant(self) -> str:
        size = "224 px" if self.features == "clip-l14" else ""
        return ", ".join(part for part in (size, "VAE ref." if self.reference == "vae" else "") if part)

    @property
    @override
    def note(self) -> str | None:
        return METHOD

    @override
    def over_set(self, features: Features) -> Interval:
        reference, generated = _both(self, features)
        return set_interval(CmmdTo(reference, generated), features.clusters)


class CmmdTo:
    """CMMD of any rows of some embeddings ``(n, D)`` to a reference ``(m, D)``, with what each row does to it."""

    def __init__(self, reference: Rows, generated: Rows) -> None:
        self.generated, everyone = generated, np.arange(len(reference))
        self.own = float(_row_means(reference, everyone, reference, everyone).mean())
        self.across = _row_means(generated, np.arange(len(generated)), reference, everyone)

    def __call__(self, rows: Indices) -> tuple[float, Floats]:
        within, across = _row_means(self.generated, rows, self.generated, rows), self.across[rows]
        return 1000 * (float(within.mean()) + self.own - 2 * float(across.mean())), 2000 * (within - across)


def _both(metric: KernelInceptionDistance | ClipMaximumMeanDiscrepancy, features: Features) -> tuple[Rows, Rows]:
    """The reference's and the generated images' features.

    Raises:
        NoValue: they are too few, or only moments.
    """
    reference, generated = features.reference(metric.reads, metric.reference), features.generated(metric.reads)
    if isinstance(reference, Gaussian):
        raise NoValue("takes the reference images themselves, not their statistics")
    if min(len(generated), len(reference)) < 2:
        raise NoValue("a distance takes two images at least on either side")
    return reference, generated


def kernel_inception_distance(a: Rows, b: Rows, rows: Indices, subsets: int = 100, size: int = 1_000) -> tuple[float, Floats]:
    """KID of some rows of ``a`` ``(n, D)`` and ``b`` ``(m, D)``, and these rows' influences on it."""
    weights, pulls, values = np.zeros(len(rows)), np.zeros(len(rows)), []
    for ours, theirs in _subsets(len(rows), len(b), subsets, size):
        x, y = a[rows[ours]], b[theirs]
        within, across = _cubic(x, x), _cubic(x, y)
        values.append(_unbiased(within) + _unbiased(_cubic(y, y)) - 2 * float(across.mean()))
        weights[ours] += 1
        pulls[ours] += 2 * ((within.sum(axis=1) - np.diag(within)) / (len(x) - 1) - across.mean(axis=1))
    influence = (pulls - weights * (pulls.sum() / weights.sum())) * (len(rows) / weights.sum())
    return float(np.mean(values)), influence


def _subsets(n: int, m: int, subsets: int, size: int) -> Iterator[tuple[Indices, Indices]]:
    """Which of n and of m rows are compared with each other: as torch-fidelity draws them, or all of a small set."""
    rng = np.random.RandomState(SEED)  # the generator that torch-fidelity draws with
    if n <= size:
        yield np.arange(n), np.arange(m) if m <= size else rng.choice(m, size, replace=False)
        return
    size = min(size, m)
    for _ in range(subsets):
        yield rng.choice(n, size, replace=False), rng.choice(m, size, replace=False)


def _row_means(x: Rows, ours: Indices, y: Rows, theirs: Indices) -> Floats:
    """The mean Gaussian kernel of each of some rows of ``x`` with some of ``y``; no more than a block of it is in memory."""
    sums = [sum(_gaussian(own, others).sum(axis=1) for others in chosen(y, theirs)) for own in chosen(x, ours)]
    means: Floats = np.concatenate(sums) / len(theirs)
    return means


def _unbiased(kernel: Floats) -> float:
    """Mean off the diagonal."""
    return float(kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))


def _cubic(x: Rows, y: Rows) -> Floats:
    x, y = x.astype(np.float64), y.astype(np.float64)  # float32 where very many rows lie in a file
    kernel: Floats = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _gaussian(x: Rows, y: Rows, bandwidth: float = 10.0) -> Floats:
    x, y = x.astype(np.float64), y.astype(np.float64)
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2 * x @ y.T
    kernel: Floats = np.exp(-squares / (2 * bandwidth**2))
    return kernel
