"""What metrics say of a denoiser itself, on real images: no sampler, no decoder and no scoring model stands between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from afa_bench.architectures.families import SDXL
from afa_bench.architectures.objective import objective_of
from afa_bench.architectures.text import conditions
from afa_bench.cells import Sample
from afa_bench.errors import UserError
from afa_bench.extractors.base import Floats
from afa_bench.images.square import Place, centre, cut, scaled
from afa_bench.images.stored import shown
from afa_bench.metrics.base import Metric
from afa_bench.metrics.probe import DenoiserProbe
from afa_bench.models.load import LoadedGroup

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
    image = shown(sample.prompt.image, f"the image of {sample.prompt.id}")
    whole = scaled(image, size)
    place = centre(whole, size)
    return Real(sample, cut(whole, size, place), place, (image.height, image.width))


def probe_of(loaded: LoadedGroup, pipeline: Any, encoders: Sequence[Any], real: Sequence[Real], suite: Suite) -> DenoiserProbe:
    """What a metric is given of a denoiser, and of the images of prompts that have one.

    Args:
        loaded: the group. Noise goes by its own scheduler, whatever images are sampled with.
        pipeline: a stock pipeline around the denoiser.
        encoders: the text encoders that the denoiser listens to.
        real: the images, one a sample.
        suite: its size, number format and guidance are used.
    """
    latents = _latents(loaded.vae, [each.square for each in real], getattr(torch, suite.dtype))
    told = conditions([each.sample.prompt.text for each in real], "", False, loaded, encoders)
    if loaded.group.family is SDXL:
        sizes = [(*each.size, *each.place, suite.size, suite.size) for each in real]
        told["time_ids"] = torch.tensor(sizes).to(latents)
    denoise = getattr(pipeline, loaded.group.family.denoiser[0])
    objective = objective_of(loaded.scheduler, denoise, suite.sampler.guidance)
    return DenoiserProbe(denoise, objective, latents, told, [each.sample.seed for each in real])


def values_of(metric: Metric, probe: DenoiserProbe) -> Mapping[str, Floats]:
    """The columns that a metric gives for a probe's samples.

    Raises:
        UserError: the metric gives something else.
    """
    columns = metric.of_denoiser(probe)
    shapes = {name: np.shape(values) for name, values in columns.items()}
    if shapes.get(metric.key) is None or set(shapes.values()) != {(len(probe.seeds),)}:
        expected = f"{len(probe.seeds)} values in {metric.key} and in any other column"
        raise UserError(f"{metric.title}: of_denoiser: expected {expected}, found {shapes}")
    return columns


def as_rows(values: Sequence[Mapping[str, Floats]]) -> list[dict[str, Any]]:
    """All metrics' columns as a row a sample; one with a value that is not finite is an error."""
    columns = {name: np.asarray(column, dtype=np.float64).tolist() for each in values for name, column in each.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    bad = [[name for name, value in row.items() if not np.isfinite(value)] for row in rows]
    return [{"error": f"not finite: {', '.join(names)}"} if names else row for row, names in zip(rows, bad, strict=True)]


def _latents(vae: Any, squares: Sequence[Image.Image], dtype: torch.dtype) -> Tensor:
    """The means of the VAE's posterior, shifted and scaled."""
    pixels = torch.from_numpy(np.stack([np.asarray(square) for square in squares])).permute(0, 3, 1, 2)
    with torch.no_grad():
        means: Tensor = vae.encode(pixels.to(vae.device, dtype) / 127.5 - 1).latent_dist.mode()
    shift: float | None = vae.config.shift_factor
    scale: float = vae.config.scaling_factor
    return (means - shift if shift else means) * scale
