"""Fréchet distance of two Gaussians given by their moments, and its interval for sets too large to be resampled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from afa_bench.extractors.base import Floats
from afa_bench.stats import Interval

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian fitted to features.

    Attributes:
        mean: ``(D,)``.
        covariance: ``(D, D)``, unbiased.
        n: of how many images, where it is known.
    """

    mean: Floats
    covariance: Floats
    n: int | None = None


BATCH = 1_024


def batches(rows: NDArray[Scalar]) -> Iterator[NDArray[Scalar]]:
    """An array ``(n, ...)`` in pieces of at most 1,024 rows."""
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def fitted(batches: Iterable[Floats]) -> Gaussian:
    """The Gaussian of features that come in batches ``(B, D)``; only their moments are kept.

    Raises:
        ValueError: fewer than two rows.
    """
    import torch

    from afa_bench.metrics.moments import Moments

    state: Moments | None = None
    for batch in batches:
        state = state or Moments(batch.shape[1])
        state.update(torch.from_numpy(np.ascontiguousarray(batch)))
    if state is None or state.n < 2:
        raise ValueError("the moments of a set take two images at least")
    mean, covariance = state.compute()
    return Gaussian(mean, covariance, int(state.n))


def distance(a: Gaussian, b: Gaussian) -> float:
    r"""``|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^{1/2})``.

    With ``S_b = F F^T`` the product ``S_a S_b`` has the eigenvalues of the symmetric ``F^T S_a F``; no vectors are needed.
    """
    root = factor(b.covariance)
    eigenvalues: Floats = np.linalg.eigvalsh(root.T @ a.covariance @ root).astype(np.float64)
    return _total(a, b, eigenvalues)


def distance_interval(a: Gaussian, b: Gaussian, batches: Iterable[Floats], clusters: Sequence[str]) -> Interval:
    """The distance with a 95% interval by the delta method: value ± 1.96 standard errors.

    The distance is linearised in the weights of ``a``'s rows (its influence function); rows of one prompt vary together.

    Args:
        a: fitted to the batches.
        b: the reference.
        batches: ``a``'s features ``(B, D)``, a second time.
        clusters: ``(n,)`` the prompt of each row.
    """
    root = factor(b.covariance)
    eigenvalues, vectors = np.linalg.eigh(root.T @ a.covariance @ root)
    kept = eigenvalues > eigenvalues[-1] * 1e-10
    pull = (root @ vectors[:, kept]) * eigenvalues[kept] ** -0.25
    away = a.mean - b.mean
    parts = []
    for batch in batches:
        rows = batch - a.mean
        parts.append(2 * rows @ away + (rows**2).sum(axis=1) - ((rows @ pull) ** 2).sum(axis=1))
    influence = np.concatenate(parts)
    value = _total(a, b, eigenvalues)
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, influence - influence.mean())
    if len(sums) < 2:
        return Interval(value, np.nan, np.nan, len(influence))
    error = 1.96 * float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1))) / len(influence)
    return Interval(value, value - error, value + error, len(influence))


def factor(covariance: Floats) -> Floats:
    """``F`` with ``F F^T`` the covariance ``(D, D)``: Cholesky's, or the symmetric root of a singular one."""
    try:
        lower: Floats = np.linalg.cholesky(covariance).astype(np.float64)
        return lower
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        root: Floats = vectors * np.sqrt(np.clip(values, 0, None))
        return root


def _total(a: Gaussian, b: Gaussian, eigenvalues: Floats) -> float:
    away = a.mean - b.mean
    root = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    return float(away @ away + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root)
