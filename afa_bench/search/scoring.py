"""The score of a merge: a few images of it, through any registered metric of one value an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from afa_bench.cells import Sample
from afa_bench.errors import UserError
from afa_bench.extractors.base import Extractor, Floats
from afa_bench.generation.generator import draw, prompted, to_image
from afa_bench.images.stored import shown
from afa_bench.merging.method import MergeMethod
from afa_bench.method import Model
from afa_bench.metrics.base import Metric, NoValue, sample_values
from afa_bench.models.load import LoadedGroup
from afa_bench.search.rewriting import Rewriter
from afa_bench.search.space import Row, Space, Weights
from afa_bench.suite import Suite


@dataclass
class _Features:
    """Features of a few images (``metrics.base.Features``)."""

    extractor: Extractor
    samples: Sequence[Sample]
    images: Mapping[str, Any]

    @property
    def clusters(self) -> list[str]:
        return [sample.prompt.cluster or sample.prompt.id for sample in self.samples]

    @property
    def captions(self) -> list[str]:
        return [sample.prompt.text for sample in self.samples]

    def generated(self, name: str) -> Floats:
        return np.asarray(self.images[name], dtype=np.float64)

    def texts(self) -> Floats:
        return np.asarray(self.extractor.texts(self.captions), dtype=np.float64)

    def paired(self, name: str) -> Floats:
        if lone := next((sample for sample in self.samples if sample.prompt.image is None), None):
            raise NoValue(f"{lone.prompt.id} has no real image of its own")
        real = [shown(sample.prompt.image or b"", sample.prompt.id) for sample in self.samples]
        return np.asarray(self.extractor.images(real, self.captions)[name], dtype=np.float64)

    def reference(self, name: str, kind: str) -> Floats:
        raise NoValue("a search has no reference images")


class ImageJudge:
    """Merges a group's models in memory, draws the samples and scores them (``auto_mbw.Judge``).

    Args:
        loaded: the group.
        models: its models, in the merge method's order.
        suite: whose sampler, size and number format are used.
        samples: what is drawn, the same for all candidates.
        metric: of one value an image.
        steps: of the sampler.
        method, space: by which the models are merged, and what of it is searched.
        device: for the metric's network.

    Raises:
        UserError: models that cannot be merged.
    """

    def __init__(
        self,
        loaded: LoadedGroup,
        models: Sequence[Model],
        suite: Suite,
        samples: Sequence[Sample],
        metric: Metric,
        steps: int,
        method: MergeMethod,
        space: Space,
        device: str,
    ) -> None:
        self._architecture = loaded.group.family
        self.rewriter = Rewriter(models, self._architecture, method, space)
        self._suite, self._samples, self._metric, self._steps = suite, samples, metric, steps
        self._loaded = loaded
        denoiser = self.rewriter.denoiser
        self._pipeline = loaded.pipeline(denoiser.unet, denoiser.text_encoders, suite.sampler.scheduler, suite.sampler.schedule)
        self._extractor = metric.extractor()
        self._extractor.load(device)
        self._texts: tuple[Row | None, dict[str, Tensor]] | None = None

    def merge(self, weights: Weights) -> None:
        """Rewrite the blocks whose weights have changed."""
        self.rewriter.write(weights)

    @torch.no_grad()
    def score(self, first: int, last: int) -> list[float]:
        """The scores of samples ``first`` to ``last - 1``; higher is better.

        Raises:
            UserError: the metric needs what these prompts do not have, or gives no number.
        """
        samples = self._samples[first:last]
        given = {name: states[first:last] for name, states in self._conditions().items()}
        images = draw(self._architecture, self._pipeline, self._suite, self._steps, samples, given)
        captions = [sample.prompt.text for sample in samples]
        features = self._extractor.images([to_image(image) for image in images], captions)
        try:
            values = sample_values(self._metric, _Features(self._extractor, samples, features))
        except NoValue as why:
            raise UserError(f"--scorer: {self._metric.title}: {why}; expected another metric") from why
        if not np.isfinite(values).all():
            raise UserError(f"--scorer: {self._metric.title}: is not a number for some image")
        return [float(value) for value in (values if self._metric.direction == "higher" else -values)]

    def _conditions(self) -> dict[str, Tensor]:
        """All prompts as the pipeline takes them: encoded once for a text encoder."""
        row = self.rewriter.text_row
        if self._texts is None or self._texts[0] != row:
            encoders = self.rewriter.denoiser.text_encoders
            self._texts = (row, prompted(self._samples, self._suite.sampler, self._loaded, encoders))
        return self._texts[1]
