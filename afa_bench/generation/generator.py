"""A shard of samples to images, or to what metrics say of the denoiser itself: the one place where denoisers run."""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from afa_bench.architectures.base import Architecture
from afa_bench.cells import Cell, Plan, Sample
from afa_bench.denoiser import require_denoiser
from afa_bench.errors import UserError
from afa_bench.generation.monitor import NonFiniteMonitor
from afa_bench.generation.probe import Real, as_rows, probe_of, real_of, values_of
from afa_bench.identity import seed_of
from afa_bench.memory import in_batches, is_of_device, is_out_of_memory
from afa_bench.models.load import LoadedGroup, load_group
from afa_bench.store.layout import CellStore, SampleRow

if TYPE_CHECKING:
    from afa_bench.models.sampler import Sampler
    from afa_bench.suite import Suite

BYTES_PER_PIXEL: Final = 3
"""Of a PNG that cannot be compressed."""


class Generator:
    """Runs shards. Holds the last group and the last denoiser, since a plan's cells come in their order.

    Args:
        plan: what to run.
        device: a torch device.
        batch_size: samples at once; changes no image by more than rounding. Halved for a cell that memory is too small for.
    """

    def __init__(self, plan: Plan, device: str, batch_size: int) -> None:
        self.plan = plan
        self.device = device
        self.batch_size = batch_size
        self.dtype: torch.dtype = getattr(torch, plan.suite.dtype)
        self._fits: dict[str, int] = {}
        self._raised: list[Exception] = []  # by single samples of the shard under way
        self._loaded: LoadedGroup | None = None
        self._built: tuple[tuple[Any, ...], Any] | None = None

    def run_shard(
        self, cell: Cell, samples: Sequence[Sample], store: CellStore, advance: Callable[[int], None]
    ) -> list[SampleRow]:
        """Do a shard's samples and return their rows. A sample that fails becomes a row with its error; the others go on.

        Raises:
            UserError: the models do not load or do not fit, or the disk is full.
        """
        work = self._images if cell.task == "generate" else self._measured
        store.check_room(len(samples) * self.plan.suite.height * self.plan.suite.width * BYTES_PER_PIXEL)

        def batch(part: slice) -> list[SampleRow]:
            rows = self._batch(work, cell, samples[part], store)
            advance(len(rows))
            return rows

        self._raised.clear()
        made, self._fits[cell.name] = in_batches(len(samples), self._fits.get(cell.name, self.batch_size), batch)
        self._require_others(cell, len(samples))
        return [row for rows in made for row in rows]

    def _require_others(self, cell: Cell, count: int) -> None:
        """Refuse a shard whose every sample fails for one reason: none of them is at fault, and nothing of it is kept."""
        alike = {re.sub(r"0x[0-9a-f]+|\d+", "", f"{type(error).__name__}: {error}") for error in self._raised}
        if len(self._raised) == count and len(alike) == 1 and (count > 1 or len(self.plan.cell_samples(cell)) == 1):
            why = f"{type(self._raised[0]).__name__}: {self._raised[0]}"
            raise UserError(f"{cell.title}: all {count} samples of a shard fail alike: {why}") from self._raised[0]

    def _batch(
        self, work: Callable[..., list[SampleRow]], cell: Cell, batch: Sequence[Sample], store: CellStore
    ) -> list[SampleRow]:
        begun = time.perf_counter()
        try:
            rows = work(cell, batch, store)
        except UserError:
            raise
        except (RuntimeError, ValueError, FloatingPointError, MemoryError) as error:
            if len(batch) > 1 and is_out_of_memory(error):
                raise
            if len(batch) > 1:
                return [row for sample in batch for row in self._batch(work, cell, [sample], store)]
            if is_out_of_memory(error) or is_of_device(error):  # what one sample takes, every one does
                why = "one sample does not fit into its memory" if is_out_of_memory(error) else str(error)
                raise UserError(f"{cell.title}: {self.device}: {why}; run the same command again once it is put right") from error
            self._raised.append(error)
            rows = [{"error": f"{type(error).__name__}: {error}"}]
        seconds = (time.perf_counter() - begun) / len(batch)
        return [
            {**_columns(sample), **row, "seconds": seconds, "batch": len(batch), "device": self.device}
            for sample, row in zip(batch, rows, strict=True)
        ]

    def sample(self, cell: Cell, batch: Sequence[Sample]) -> Tensor:
        """The images of a generate cell: ``(B, 3, H, W)`` in [0, 1], fp32 on the CPU.

        A row depends on its sample alone, up to rounding.
        """
        return self._drawn(cell, batch)[0]

    def _drawn(self, cell: Cell, batch: Sequence[Sample]) -> tuple[Tensor, list[str | None]]:
        """Images, and for each where it stopped being finite, if it did."""
        pipeline, loaded, encoders = self._denoiser(cell)
        suite, found = self.plan.suite, dict[int, tuple[Tensor, str | None]]()
        for places in by_length(batch, suite.sampler, loaded):
            part = [batch[place] for place in places]
            given = prompted(part, suite.sampler, loaded, encoders)
            with NonFiniteMonitor(pipeline) as monitor:
                images = draw(loaded.group.family, pipeline, suite, cell.steps or 0, part, given, monitor.step)
            found |= zip(places, zip(images, monitor.errors(), strict=True), strict=True)
        ordered = [found[place] for place in range(len(batch))]
        return torch.stack([image for image, _ in ordered]), [error for _, error in ordered]

    def _images(self, cell: Cell, batch: Sequence[Sample], store: CellStore) -> list[SampleRow]:
        images, errors = self._drawn(cell, batch)
        return [
            {"error": error} if error else self._save(image, sample, store)
            for image, error, sample in zip(images, errors, batch, strict=True)
        ]

    def _save(self, image: Tensor, sample: Sample, store: CellStore) -> SampleRow:
        buffer = io.BytesIO()
        to_image(image).save(buffer, "PNG")
        name = f"{hashlib.sha256(sample.id.encode()).hexdigest()[:16]}.png"
        store.write_image(name, buffer.getvalue())
        return {"file": name, "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}

    def _measured(self, cell: Cell, batch: Sequence[Sample], store: CellStore) -> list[SampleRow]:
        """What metrics say of the denoiser itself, on the prompts' own real images."""
        pipeline, loaded, encoders = self._denoiser(cell)
        rows: dict[str, SampleRow] = {}
        known: dict[str, Real] = {}
        for sample in batch:
            rows[sample.id] = {}
            try:
                known[sample.id] = real_of(sample, self.plan.suite.height)
            except UserError as error:
                rows[sample.id] = {"error": str(error)}
        if known:
            probe = probe_of(loaded, pipeline, encoders, list(known.values()), self.plan.suite)
            values = [values_of(metric, probe) for metric in self.plan.metrics if metric.task == "denoise"]
            rows |= dict(zip(known, as_rows(values), strict=True))
        return list(rows.values())

    def _denoiser(self, cell: Cell) -> tuple[Any, LoadedGroup, Sequence[Any]]:
        """A stock pipeline around the cell's denoiser, the group it comes from, and the text encoders that it listens to."""
        if self._loaded is None or self._loaded.group != cell.group:
            self._loaded = self._built = None
            with self._fitting(cell):
                self._loaded = load_group(cell.group, self.device, self.dtype)
        key = (cell.group.name, cell.label, cell.options)
        if self._built is None or self._built[0] != key:
            self._built = None
            with self._fitting(cell):
                denoiser = cell.method.build(cell.group, self._loaded.models, cell.options)
            require_denoiser(denoiser, f"{cell.group.name}, {cell.label}")
            denoiser.unet.eval().requires_grad_(False)
            if denoiser.guide is not None:
                denoiser.guide(self.plan.suite.sampler.guidance)
            sampler = self.plan.suite.sampler
            pipeline = self._loaded.pipeline(denoiser.unet, denoiser.text_encoders, sampler.scheduler, sampler.schedule)
            self._built = (key, (pipeline, denoiser.text_encoders))
        pipeline, encoders = self._built[1]
        return pipeline, self._loaded, encoders

    @contextmanager
    def _fitting(self, cell: Cell) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(f"{cell.group.name}, {cell.label}: the models do not fit into the memory of {self.device}") from error


def prompted(
    samples: Sequence[Sample], sampler: Sampler, loaded: LoadedGroup, encoders: Sequence[torch.nn.Module]
) -> dict[str, Tensor]:
    """The samples' prompts as the pipeline takes them; a prompt's own negative prompt stands in for the sampler's."""
    by_negative: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        by_negative.setdefault(sampler.negative(sample.prompt.negative), []).append(place)
    conditions, guided = sampler.conditions(loaded.group), sampler.guidance > 1
    parts = [
        conditions([samples[place].prompt.text for place in places], loaded.tokenizers, encoders, negative, guided)
        for negative, places in by_negative.items()
    ]
    if len(parts) == 1:
        return parts[0]
    back = torch.tensor([place for places in by_negative.values() for place in places]).argsort()
    return {name: torch.cat([part[name] for part in parts])[back.to(value.device)] for name, value in parts[0].items()}


def by_length(samples: Sequence[Sample], sampler: Sampler, loaded: LoadedGroup) -> Sequence[Sequence[int]]:
    """The places of samples whose texts become equally long: those that can be drawn at once."""
    texts = [(sample.prompt.text, sampler.negative(sample.prompt.negative)) for sample in samples]
    lengths = sampler.reading(loaded.group).lengths(texts, loaded.tokenizers)
    return [[place for place, own in enumerate(lengths) if own == length] for length in dict.fromkeys(lengths)]


def draw(
    architecture: Architecture,
    pipeline: Any,
    suite: Suite,
    steps: int,
    batch: Sequence[Sample],
    given: Mapping[str, Tensor],
    after_step: Callable[..., dict[str, Tensor]] | None = None,
) -> Tensor:
    """Images of samples: ``(B, 3, H, W)`` in [0, 1], fp32 on the CPU.

    Args:
        architecture: of the models.
        pipeline: a stock pipeline around a denoiser.
        suite: its sampler, size and number format are used.
        steps: of the scheduler.
        batch: what to draw.
        given: the prompts as the architecture's ``conditions`` gives them.
        after_step: called after each step, as diffusers does.

    Raises:
        UserError: a size that the architecture does not draw.
    """
    for side in (suite.height, suite.width):
        architecture.require_size(pipeline.vae, side)
    images: Tensor = pipeline(
        **given,
        latents=initial_noise(architecture, pipeline, suite, batch).to(given["prompt_embeds"].device),
        generator=[torch.Generator().manual_seed(seed_of(sample.seed, "sampler")) for sample in batch],
        num_inference_steps=steps,
        guidance_scale=suite.sampler.guidance,
        height=suite.height,
        width=suite.width,
        output_type="pt",
        callback_on_step_end=after_step,
        **suite.sampler.call,
    ).images
    return images.float().cpu()


def to_image(image: Tensor) -> Image.Image:
    """``(3, H, W)`` in [0, 1] as 8-bit RGB."""
    return Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def initial_noise(architecture: Architecture, pipeline: Any, suite: Suite, batch: Sequence[Sample]) -> Tensor:
    """Each sample's initial noise from its own generator on the CPU: the same for all methods, batches and devices."""
    denoiser = getattr(pipeline, architecture.denoiser[0])
    shape = architecture.latent_shape(pipeline.vae, denoiser, suite.height, suite.width)
    noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(sample.seed)) for sample in batch])
    return architecture.packed(noise).to(getattr(torch, suite.dtype))


def _columns(sample: Sample) -> SampleRow:
    own = {"negative_prompt": sample.prompt.negative, "cluster": sample.prompt.cluster}
    return {
        "sample_id": sample.id,
        "prompt_id": sample.prompt.id,
        "prompt": sample.prompt.text,
        "category": sample.prompt.category,
        **{name: value for name, value in own.items() if value is not None},
        "image_index": sample.image_index,
        "repeat": sample.repeat,
        "seed": sample.seed,
        "file": None,
        "sha256": None,
        "error": None,
    }
