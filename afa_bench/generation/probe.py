"""What metrics say of a denoiser itself, on real images: no sampler, no decoder and no scoring model stands between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from afa_bench.images.decode import decode
from afa_bench.images.stored import read
from afa_bench.metrics.base import Metric
from afa_bench.metrics.probe import DenoiserProbe
from afa_bench.models.load import LoadedGroup
from afa_bench.store.layout import SampleRow

if TYPE_CHECKING:
    from afa_bench.suite import Suite


def probe_of(
    loaded: LoadedGroup, pipeline: Any, encoders: Sequence[Any], samples: Sequence[Sample], suite: Suite
) -> DenoiserProbe:
    """What a metric is given of a denoiser, and of the images of prompts that have one.

    Args:
        loaded: the group. Noise goes by its own scheduler, whatever images are sampled with.
        pipeline: a stock pipeline around the denoiser.
        encoders: the text encoders that the denoiser listens to.
        samples: one an image.
        suite: its size, number format and guidance are used.
    """
    images = [decode(read(sample.prompt.image or b""), sample.prompt.id).convert("RGB") for sample in samples]
    latents = _latents(loaded.vae, images, suite.size, getattr(torch, suite.dtype))
    told = conditions([sample.prompt.text for sample in samples], "", False, loaded, encoders)
    if loaded.group.family is SDXL:
        sizes = [(image.height, image.width, 0, 0, suite.size, suite.size) for image in images]
        told["time_ids"] = torch.tensor(sizes).to(latents)
    denoise = getattr(pipeline, loaded.group.family.denoiser[0])
    objective = objective_of(loaded.scheduler, denoise, suite.sampler.guidance)
    return DenoiserProbe(denoise, objective, latents, told, [sample.seed for sample in samples])


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


def _latents(vae: Any, images: Sequence[Image.Image], size: int, dtype: torch.dtype) -> Tensor:
    """The means of the VAE's posterior, shifted and scaled."""
    sized = [image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC) for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in sized])).permute(0, 3, 1, 2)
    with torch.no_grad():
        means: Tensor = vae.encode(pixels.to(vae.device, dtype) / 127.5 - 1).latent_dist.mode()
    shift: float | None = vae.config.shift_factor
    scale: float = vae.config.scaling_factor
    return (means - shift if shift else means) * scale
