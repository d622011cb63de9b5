"""Fréchet distance of sets of features, from rows or from moments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from afa_bench.extractors.base import Floats
from afa_bench.metrics.interval import Indices

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


def chosen(rows: NDArray[Scalar], indices: Indices) -> Iterator[NDArray[Scalar]]:
    """Some rows of an array, which may lie in a file, in pieces of at most 1,024."""
    return (rows[part] for part in batches(indices))


def fitted(batches: Iterable[NDArray[np.floating]]) -> Gaussian:
    """The Gaussian of features that come in batches ``(B, D)``; only their moments are kept.

    Raises:
        ValueError: fewer than two rows.
    """
    import torch

    from afa_bench.metrics.moments import Moments

    state: Moments | None = None
    for batch in batches:
        state = state or Moments(batch.shape[1])
        state.update(torch.from_numpy(np.array(batch)))
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
    away = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(away @ away + traces - 2 * np.sqrt(np.clip(eigenvalues, 0, None)).sum())


def factor(covariance: Floats) -> Floats:
    """``F`` with ``F F^T`` the covariance ``(D, D)``: Cholesky's, or the symmetric root of a singular one."""
    try:
        lower: Floats = np.linalg.cholesky(covariance).astype(np.float64)
        return lower
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        root: Floats = vectors * np.sqrt(np.clip(values, 0, None))
        return root


class FrechetTo:
    """The Fréchet distance to a reference, of any rows of a set, with what each row does to it.

    The reference is its rows ``(m, D)`` or their Gaussian, and gives the same numbers as either. Of fewer rows than features the
    distance is found between the rows, exactly; of more, between the features.
    """

    def __init__(self, reference: NDArray[np.floating] | Gaussian) -> None:
        if isinstance(reference, Gaussian):
            self.mean, self.factor = reference.mean, factor(reference.covariance)
        elif len(reference) > reference.shape[1]:
            whole = fitted(batches(reference))
            self.mean, self.factor = whole.mean, factor(whole.covariance)
        else:
            self.mean = reference.mean(axis=0, dtype=np.float64)
            self.factor = (reference - self.mean).T / np.sqrt(len(reference) - 1)
        self.trace = float((self.factor**2).sum())

    def __call__(self, features: NDArray[np.floating], rows: Indices) -> tuple[float, Floats]:
        """The distance of some rows of ``features`` ``(n, D)``, and their influences on it."""
        few = len(rows) <= self.factor.shape[1]
        mean, trace, roots, pulls = (self._between_rows if few else self._between_features)(features, rows)
        away = mean - self.mean
        parts = []
        for batch, pull in zip(chosen(features, rows), pulls, strict=True):
            centred = batch - mean
            parts.append(2 * centred @ away + (centred**2).sum(axis=1) - pull)
        return float(away @ away + trace + self.trace - 2 * roots), np.concatenate(parts)

    def _between_rows(self, features: NDArray[np.floating], rows: Indices) -> tuple[Floats, float, float, Iterator[Floats]]:
        """Mean, trace of the covariance, trace of the root of the product, and what each row adds to the last, by batches."""
        taken = features[rows].astype(np.float64)
        mean = taken.mean(axis=0)
        taken -= mean
        trace = float((taken**2).sum()) / (len(rows) - 1)
        shared = taken @ self.factor
        values, vectors = _positive(shared @ shared.T)
        scale = np.sqrt(len(rows) - 1)
        return mean, trace, float(np.sqrt(values).sum()) / scale, batches(scale * (vectors**2) @ np.sqrt(values))

    def _between_features(self, features: NDArray[np.floating], rows: Indices) -> tuple[Floats, float, float, Iterator[Floats]]:
        """The same."""
        own = fitted(chosen(features, rows))
        values, vectors = _positive(self.factor.T @ own.covariance @ self.factor)
        pull = (self.factor @ vectors) * values**-0.25
        parts = (((batch - own.mean) @ pull) ** 2 for batch in chosen(features, rows))
        return own.mean, float(np.trace(own.covariance)), float(np.sqrt(values).sum()), (part.sum(axis=1) for part in parts)


def _positive(symmetric: Floats) -> tuple[Floats, Floats]:
    """The eigenvalues above rounding, and their vectors as columns."""
    values, vectors = np.linalg.eigh(symmetric)
    kept = values > values[-1] * 1e-10
    return values[kept].astype(np.float64), vectors[:, kept].astype(np.float64)
