"""What each metric of single images makes of known features, beside its definition written down again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from afa_bench.metrics.clip import ClipI, ClipT
from afa_bench.metrics.hpsv2 import HPSv2
from afa_bench.metrics.imagereward import ImageReward
from afa_bench.metrics.pickscore import PickScore

Rows = NDArray[np.float64]


def unit(seed: int, width: int = 8) -> Rows:
    rows = np.random.default_rng(seed).normal(size=(5, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass
class Known:
    """Features that are there."""

    images: Rows
    words: Rows = field(default_factory=lambda: unit(1))
    real: Rows = field(default_factory=lambda: unit(2))
    clusters: tuple[str, ...] = tuple("abcde")

    def generated(self, name: str) -> Rows:
        return self.images

    def texts(self) -> Rows:
        return self.words

    def paired(self, name: str) -> Rows:
        return self.real

    def reference(self, name: str, kind: str) -> Rows:
        return self.real


def cosines(a: Rows, b: Rows) -> list[float]:
    return [float(np.dot(x, y)) for x, y in zip(a, b, strict=True)]


def test_hpsv2_is_a_hundred_times_the_cosine() -> None:
    known = Known(unit(0))
    assert HPSv2().per_sample(known) == pytest.approx([100 * value for value in cosines(known.images, known.words)], rel=1e-12)
    assert HPSv2().per_sample(Known(unit(1))) == pytest.approx([100.0] * 5, rel=1e-12)


@pytest.mark.parametrize("metric", [ClipT(), ClipI(), PickScore()], ids=lambda metric: metric.label)
def test_a_cosine_is_neither_clipped_nor_scaled(metric: ClipT | ClipI | PickScore) -> None:
    known = Known(unit(0))
    other = known.real if isinstance(metric, ClipI) else known.words
    expected = cosines(known.images, other)
    assert min(expected) < 0 < max(expected)
    assert metric.per_sample(known) == pytest.approx(expected, rel=1e-12)


def test_imagereward_is_standardised_by_the_published_moments() -> None:
    """``image-reward`` 1.5 subtracts 0.16717362830052426 and divides by 1.0333394966054072."""
    raw = np.array([[0.16717362830052426], [0.16717362830052426 + 1.0333394966054072], [0.0], [-2.5], [3.0]])
    found = ImageReward().per_sample(Known(raw))
    assert found[:2] == pytest.approx([0.0, 1.0], abs=1e-12)
    assert found[2:] == pytest.approx([-0.1617799657, -2.5811203743, 2.7414285247], abs=1e-8)
