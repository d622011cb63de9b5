"""Fréchet distance of two sets of features: FID (Heusel et al. 2017) when the features are Inception's."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from afa_bench.extractors.base import POOL, Floats
from afa_bench.metrics.base import Features, NoValue
from afa_bench.metrics.gaussian import FrechetTo, Gaussian
from afa_bench.metrics.inception import InceptionMetric
from afa_bench.metrics.interval import METHOD, set_interval
from afa_bench.stats import Interval


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
    reads: ClassVar[str] = POOL

    reference: Literal["real", "vae"] = "real"

    @property
    @override
    def variant(self) -> str:
        return ", ".join(part for part in (super().variant, "VAE ref." if self.reference == "vae" else "") if part)

    @property
    @override
    def note(self) -> str | None:
        return f"biased upwards for few images: compare only cells of equal size; {METHOD}"

    @override
    def over_set(self, features: Features) -> Interval:
        reference = features.reference(self.reads, self.reference)
        generated = features.generated(self.reads)
        images = [len(generated), *([] if isinstance(reference, Gaussian) else [len(reference)])]
        if min(images) < 2:
            raise NoValue("a distance takes two images at least on either side")
        to = FrechetTo(reference)
        return set_interval(lambda rows: to(generated, rows), features.clusters, floor=0.0)


def frechet_distance(a: Floats, b: Floats) -> float:
    r"""``|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^{1/2})`` of features ``(n, D)`` and ``(m, D)``.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"the Fréchet distance takes two images at least, got {len(a)} and {len(b)}")
    return FrechetTo(b)(a, np.arange(len(a)))[0]
