"""What metrics say of a denoiser itself, on real images: no sampler, no decoder and no scoring model stands between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from afa_bench.cells import Sample
from afa_bench.errors import UserError
from afa_bench.extractors.base import Floats
from afa_bench.images.square import Place, centre, cut, scaled
from afa_bench.images.stored import name_of, shown
from afa_bench.metrics.base import Metric
from afa_bench.metrics.probe import DenoiserProbe
from afa_bench.models.load import LoadedGroup
from afa_bench.store.layout import SampleRow

if TYPE_CHECKING:
    from afa_bench.suite import Suite


@dataclass(frozen=True)
class Real:
    """A sample's real image: the square of it that is noised, where that was cut, and the image's height and width."""

    sample: Sample
    square: Image.Image
    place: Place
    size: tuple[int, int]


def real_of(sample: Sample, size: int) -> Real:
    """The square in the centre of a sample's real image, as a person sees it.

    Raises:
        UserError: it has none, or one that cannot be read.
    """
    if sample.prompt.image is None:
        raise UserError("the prompt has no image to denoise")
    name = name_of(sample.prompt.image, f"the image of {sample.prompt.id}")
    image = shown(sample.prompt.image, name)
    whole = scaled(image, size, name)
    place = centre(whole, size)
    return Real(sample, cut(whole, size, place), place, (image.height, image.width))


def probe_of(loaded: LoadedGroup, pipeline: Any, encoders: Sequence[Any], real: Sequence[Real], suite: Suite) -> DenoiserProbe:
    """What a metric is given of a denoiser, and of the images of prompts that have one.

    Args:
        loaded: the group. Noise goes by its own scheduler, whatever images are sampled with.
        pipeline: a stock pipeline around the denoiser.
        encoders: the text encoders that the denoiser listens to.
        real: the images, one a sample.
        suite: its size and number format are used.

    Raises:
        UserError: a size that has no latents of its own.
    """
    architecture = loaded.group.family
    architecture.require_size(loaded.vae, suite.height)
    pixels = _pixels([each.square for each in real]).to(loaded.vae.device, getattr(torch, suite.dtype))
    with torch.no_grad():
        latents = architecture.latents(loaded.vae, pixels / 127.5 - 1)
    conditions = architecture.conditions([each.sample.prompt.text for each in real], loaded.tokenizers, encoders)
    sizes = [architecture.size_conditions(each.size, each.place, (suite.height, suite.width)) for each in real]
    conditions |= {name: torch.tensor([own[name] for own in sizes]).to(latents) for name in sizes[0]}
    denoise = getattr(pipeline, architecture.denoiser[0])
    objective = architecture.objective(loaded.scheduler, denoise)
    return DenoiserProbe(denoise, objective, latents, conditions, [each.sample.seed for each in real])


def values_of(metric: Metric, probe: DenoiserProbe) -> Mapping[str, Floats]:
    """The columns that a metric gives for a probe's samples.

    Raises:
        UserError: the metric gives something else.
    """
    columns = metric.of_denoiser(probe)
    shapes = {name: np.shape(values) for name, values in columns.items()}
    foreign = [name for name in columns if not name.startswith(metric.key)]
    if metric.key not in columns or foreign or set(shapes.values()) != {(len(probe.seeds),)}:
        expected = f"{len(probe.seeds)} values in {metric.key} and in any other column {metric.key}..."
        raise UserError(f"{metric.title}: of_denoiser: expected {expected}, found {shapes}")
    return columns


def as_rows(values: Sequence[Mapping[str, Floats]]) -> list[SampleRow]:
    """All metrics' columns as a row a sample; one with a value that is not finite is an error."""
    columns = {name: np.asarray(column, dtype=np.float64).tolist() for each in values for name, column in each.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    bad = [[name for name, value in row.items() if not np.isfinite(value)] for row in rows]
    return [{"error": f"not finite: {', '.join(names)}"} if names else row for row, names in zip(rows, bad, strict=True)]


def _pixels(squares: Sequence[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(square) for square in squares])).permute(0, 3, 1, 2)
