"""What metrics say of a denoiser itself, on real images: no sampler, no decoder and no scoring model stands between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from afa_bench.errors import UserError
from afa_bench.extractors.base import Floats
from afa_bench.images.decode import decode
from afa_bench.images.stored import read
from afa_bench.metrics.base import Metric
from afa_bench.metrics.probe import DenoiserProbe
from afa_bench.models.load import LoadedGroup
from afa_bench.plan import Sample
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
        suite: its size and number format are used.

    Raises:
        UserError: a size that has no latents of its own.
    """
    architecture = loaded.group.family
    architecture.require_size(loaded.vae, suite.size)
    images = [decode(read(sample.prompt.image or b""), sample.prompt.id).convert("RGB") for sample in samples]
    size = (suite.size, suite.size)
    pixels = _pixels(images, size).to(loaded.vae.device, getattr(torch, suite.dtype))
    with torch.no_grad():
        latents = architecture.latents(loaded.vae, pixels / 127.5 - 1)
    told = architecture.conditions([sample.prompt.text for sample in samples], loaded.tokenizers, encoders)
    sizes = [architecture.size_conditions((image.height, image.width), (0, 0), size) for image in images]
    told |= {name: torch.tensor([own[name] for own in sizes]).to(latents) for name in sizes[0]}
    denoise = getattr(pipeline, architecture.denoiser[0])
    objective = architecture.objective(loaded.scheduler, denoise)
    return DenoiserProbe(denoise, objective, latents, told, [sample.seed for sample in samples])


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


def _pixels(images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
    """RGB images as ``(B, 3, H, W)``, resized where they are of another size."""
    sized = [image if image.size == size else image.resize(size, Image.Resampling.BICUBIC) for image in images]
    return torch.from_numpy(np.stack([np.asarray(image) for image in sized])).permute(0, 3, 1, 2)
