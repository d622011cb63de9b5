"""Streaming states of set metrics: what is kept of features instead of the features, in double precision.

Both are torchmetrics' ``Metric``: states of shards merge (``merge_state``) to that of one pass, within a process or over many.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from afa_bench.extractors.base import Floats


class Moments(Metric):
    """Mean and covariance of features, from their sum, the sum of their outer products and their number."""

    full_state_update = False
    total: Tensor
    outer: Tensor
    n: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("outer", torch.zeros(dim, dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        """Take in ``(B, D)`` features."""
        rows = features.double()
        self.total += rows.sum(dim=0)
        self.outer += rows.T @ rows
        self.n += len(rows)

    def compute(self) -> tuple[Floats, Floats]:
        """Mean ``(D,)`` and unbiased covariance ``(D, D)``."""
        mean = self.total / self.n
        covariance = (self.outer - self.n * torch.outer(mean, mean)) / (self.n - 1)
        return mean.cpu().numpy(), covariance.cpu().numpy()


class SplitScores(Metric):
    """Inception Score of images that arrive in any order, each with the number of the split it belongs to."""

    full_state_update = False
    marginal: Tensor
    negentropy: Tensor
    n: Tensor

    def __init__(self, splits: int, classes: int) -> None:
        super().__init__()
        self.add_state("marginal", torch.zeros(splits, classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("negentropy", torch.zeros(splits, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n", torch.zeros(splits, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, split: Tensor) -> None:
        """Take in ``(B, K)`` probabilities and ``(B,)`` numbers of splits."""
        p = probabilities.double()
        self.marginal.index_add_(0, split, p)
        self.negentropy.index_add_(0, split, torch.special.xlogy(p, p).sum(dim=1))
        self.n += torch.bincount(split, minlength=len(self.n))

    def without(self, probabilities: Tensor, split: Tensor) -> Floats:
        """``(B,)`` the scores of the images' splits without each of them; 1, as of any one image, of an empty split."""
        p = probabilities.double()
        left = (self.n[split] - 1).clamp(min=1)
        q = (self.marginal[split] - p).clamp(min=0) / left[:, None]
        negentropy = (self.negentropy[split] - torch.special.xlogy(p, p).sum(dim=1)) / left
        scores = (negentropy - torch.special.xlogy(q, q).sum(dim=1)).exp().cpu().numpy()
        return cast(Floats, np.where((self.n[split] > 1).cpu().numpy(), scores, 1.0))

    def compute(self) -> Floats:
        """``(splits,)`` scores."""
        q = self.marginal / self.n[:, None]
        return cast(Floats, np.exp((self.negentropy / self.n - torch.special.xlogy(q, q).sum(dim=1)).cpu().numpy()))
