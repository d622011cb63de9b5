"""Fréchet distance of two sets of features: FID (Heusel et al. 2017) when the features are Inception's."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from afa_bench.extractors.base import Floats
from afa_bench.metrics.base import Features
from afa_bench.metrics.gaussian import Gaussian, batches, distance_interval, fitted
from afa_bench.metrics.inception import InceptionMetric
from afa_bench.metrics.resample import resampled_interval
from afa_bench.stats import Interval

LARGE = 500
"""Above so many images rows are not compared with each other: moments alone are kept, and the interval is the delta method's."""


class FrechetDistance(InceptionMetric):
    """Distance between Gaussians fitted to the features of generated and of reference images.

    Attributes:
        reference: the prompt set's real images, or their reconstructions by the pipeline's VAE. The second leaves out what no
            denoiser of a latent model can do anything about.
    """

    label: ClassVar[str] = "FID"
    version: ClassVar[int] = 1
    direction: ClassVar[Literal["higher", "lower"]] = "lower"
    digits: ClassVar[int] = 1

    features: str = "inception"
    reference: Literal["real", "vae"] = "real"

    @property
    def variant(self) -> str:
        """The resize, and ``VAE ref.`` for the reconstructed reference."""
        return ", ".join(part for part in (super().variant, "VAE ref." if self.reference == "vae" else "") if part)

    @property
    def note(self) -> str | None:
        """FID of few images is biased upwards."""
        return "biased upwards for few images: compare only cells of equal size; interval ±1.96 bootstrap standard errors"

    def over_set(self, features: Features) -> Interval | None:
        """The distance, or None for a prompt set without a reference."""
        reference = features.reference("pool", self.reference)
        if reference is None:
            return None
        generated = features.generated("pool")
        if len(generated) <= LARGE and not isinstance(reference, Gaussian):
            return frechet_interval(generated, reference, features.clusters)
        if len(generated) < 2:
            return Interval(np.nan, np.nan, np.nan, len(generated))
        whole = reference if isinstance(reference, Gaussian) else fitted(batches(reference))
        return distance_interval(fitted(batches(generated)), whole, batches(generated), features.clusters)


def frechet_distance(a: Floats, b: Floats) -> float:
    r"""``|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^{1/2})`` of features ``(n, D)`` and ``(m, D)``.

    The trace of the root is the nuclear norm of ``X_a X_b^T``, where ``X`` are the centred features over ``sqrt(n - 1)``: the
    eigenvalue problem is ``n x n``.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"the Fréchet distance takes two images at least, got {len(a)} and {len(b)}")
    return _Frechet(a, b).distance(np.ones(len(a)))


def frechet_interval(a: Floats, b: Floats, clusters: object) -> Interval:
    """The distance with a 95% interval over resampled rows of ``a``."""
    if len(a) < 2 or len(b) < 2:
        return Interval(np.nan, np.nan, np.nan, len(a))
    return resampled_interval(_Frechet(a, b).distance, len(a), clusters)


class _Frechet:
    """The distance of weighted rows of ``a`` to ``b``; what does not depend on the weights is computed once."""

    def __init__(self, a: Floats, b: Floats) -> None:
        mean = b.mean(axis=0, dtype=np.float64)
        self.a = a - mean
        self.trace_b, self.gram = 0.0, np.zeros((len(a), len(a)))
        for rows in batches(b):
            centred = (rows - mean) / np.sqrt(len(b) - 1)
            self.trace_b += float((centred**2).sum())
            projected = self.a @ centred.T
            self.gram += projected @ projected.T
        self.squares = (self.a**2).sum(axis=1)

    def distance(self, weights: Floats) -> float:
        """``weights`` ``(n,)`` count how often each row is in the set."""
        n = weights.sum()
        mean = weights @ self.a / n
        trace_a = float(weights @ self.squares - n * mean @ mean) / (n - 1)
        rows = weights > 0
        kept, w = self.gram[np.ix_(rows, rows)], weights[rows]
        middle = kept @ w / n
        kernel = kept - middle[:, None] - middle[None, :] + w @ middle / n
        root = np.sqrt(w / (n - 1))
        eigenvalues = np.linalg.eigvalsh(root[:, None] * kernel * root[None, :])
        return float(mean @ mean + trace_a + self.trace_b - 2 * np.sqrt(np.clip(eigenvalues, 0, None)).sum())
