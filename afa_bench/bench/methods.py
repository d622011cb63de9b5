"""What methods cost: parameters, floating-point operations, seconds and memory, beside one base model measured in the same run.

Weights are random, since none of this depends on their values (but for which expert a router picks). One generation is what a
user waits for: the prompts' text states, all steps with both halves of guidance, and the VAE's decoder. A multiply-add counts
as two operations, attention included (torch's ``FlopCounterMode``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from afa_bench import registry
from afa_bench.bench.architecture import Parts, PipelineConfigs, build_parts
from afa_bench.bench.memory import added_peak
from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Model
from afa_bench.models.group import Group, ModelRef

BASE = "base"
GUIDANCE = 7.5

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One row: a method on so many models, making so many images at once in so many steps."""

    method: str
    n_models: int
    images: int
    steps: int


@dataclass
class Measured:
    """What a case costs.

    Attributes:
        parameters: of the denoiser: all models and what a method adds; None where it cannot be built without weights.
        tflops: of one generation, in 10^12 operations; None where they depend on the data and were not counted.
        train_tflops: of one training step on one image, where the method learns something.
        times: seconds of each generation.
        ratio: of the median of its times to that of the base model with the same images, at the most steps.
        peak_bytes: weights and the most that one generation adds.
    """

    case: Case
    parameters: int | None
    tflops: float | None = None
    train_tflops: float | None = None
    times: list[float] = field(default_factory=list)
    ratio: float | None = None
    peak_bytes: int | None = None

    def row(self) -> dict[str, Any]:
        """For the JSON file."""
        times = sorted(self.times)
        return {
            **vars(self.case),
            "parameters": self.parameters,
            "tflops": self.tflops,
            "train_tflops": self.train_tflops,
            "seconds": statistics.median(times) if times else None,
            "seconds_low": times[0] if times else None,
            "seconds_high": times[-1] if times else None,
            "ratio": self.ratio,
            "peak_bytes": self.peak_bytes,
        }


def cases_of(methods: Sequence[str], models: Sequence[int], images: Sequence[int], steps: Sequence[int]) -> list[Case]:
    """All combinations; the base model, which all are compared with, goes first and has one model."""
    rows = [(BASE, 1)] + [(method, count) for count in models for method in dict.fromkeys(methods) if method != BASE]
    return [Case(method, count, many, n) for method, count in rows for many in images for n in steps]


class Workshop:
    """The models, and the denoisers made of them.

    Args:
        architecture: of the models.
        count: how many models.
        device: where they are; on ``meta`` nothing is computed.
        dtype: of their weights.
    """

    def __init__(self, architecture: PipelineConfigs, count: int, device: str, dtype: torch.dtype) -> None:
        self.architecture, self.device, self.dtype = architecture, device, dtype
        self.parts: Parts = build_parts(architecture, count, device, dtype)
        self._built: dict[tuple[str, int], Denoiser] = {}
        self._operations: dict[tuple[str, int, int], tuple[int, int] | None] = {}

    def denoiser(self, method: str, count: int) -> Denoiser:
        """A method's denoiser on the first ``count`` models, with a fresh learned part where it has one."""
        if (method, count) not in self._built:
            models = self.parts.models[:count]
            group = _group(models)
            with torch.device(self.device):
                if method in registry.available("trainables"):
                    learner = registry.load("trainables", method)
                    denoiser: Denoiser = learner().build(group, models, learner.Options()).denoiser
                else:
                    kind = registry.load("methods", method, "--methods")
                    options = next(iter(kind().variants(group, kind.Options()).values()))
                    denoiser = kind().build(group, models, options)
            denoiser.unet.to(self.dtype).eval().requires_grad_(False)
            if denoiser.guide is not None:
                denoiser.guide(GUIDANCE)
            self._built[method, count] = denoiser
        return self._built[method, count]

    def parameters(self, case: Case) -> int | None:
        """Of the denoiser, each once; None where it cannot be built without data."""

        def counted() -> int:
            return sum(parameter.numel() for parameter in self.denoiser(case.method, case.n_models).unet.parameters())

        return self._without_data(counted)

    def weights(self, case: Case) -> int:
        """Bytes of all that a generation needs."""
        denoiser = self.denoiser(case.method, case.n_models)
        parts = [denoiser.unet, self.parts.vae, *denoiser.text_encoders]
        tensors = {id(tensor): tensor for part in parts for tensor in [*part.parameters(), *part.buffers()]}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    def tflops(self, case: Case) -> float | None:
        """Of one generation; None where they cannot be counted without data."""
        key = (case.method, case.n_models, case.images)
        if key not in self._operations:
            self._operations[key] = self._without_data(partial(self._count, case))
        counted = self._operations[key]
        return None if counted is None else (counted[0] + case.steps * counted[1]) / 1e12

    @torch.no_grad()
    def _count(self, case: Case) -> tuple[int, int]:
        """Operations of what is done once, and of each step."""
        once = _flops(lambda: self._text(case, case.images + 1))
        once += _flops(lambda: self.parts.vae.decode(self._latents(case.images)))
        states = self._text(case, 2 * case.images)
        latents = self._latents(2 * case.images)
        unet = self.denoiser(case.method, case.n_models).unet
        return once, _flops(lambda: unet(latents, torch.ones(()), states))

    def train_tflops(self, case: Case) -> float | None:
        """Of one training step on one image: forward and back through frozen models to what learns; None where nothing does."""
        if case.method not in registry.available("trainables"):
            return None
        return self._without_data(partial(self._count_training, case))

    def _count_training(self, case: Case) -> float:
        kind = registry.load("trainables", case.method)
        models = self.parts.models[: case.n_models]
        with torch.device(self.device):
            learner = kind().build(_group(models), models, kind.Options())
        learner.learned.to(self.dtype).requires_grad_(True)
        learner.denoiser.unet.train()
        states = self._states(learner.denoiser, 1)

        def work() -> None:
            learner.denoiser.unet(self._latents(1), torch.ones(()), states).sample.float().pow(2).mean().backward()

        return _flops(work) / 1e12

    def generate(self, case: Case) -> Tensor:
        """The images of a case: ``(images, 3, H, W)``."""
        from diffusers import StableDiffusionPipeline

        denoiser = self.denoiser(case.method, case.n_models)
        pipeline = StableDiffusionPipeline(
            vae=self.parts.vae,
            text_encoder=denoiser.text_encoders[0],
            tokenizer=None,
            unet=denoiser.unet,
            scheduler=self.parts.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        with torch.no_grad():
            states = self._text(case, case.images + 1)
            images: Tensor = pipeline(
                prompt_embeds=states[:-1],
                negative_prompt_embeds=states[-1:].expand(case.images, -1, -1),
                latents=self._latents(case.images),
                num_inference_steps=case.steps,
                guidance_scale=GUIDANCE,
                height=self.architecture.size,
                width=self.architecture.size,
                output_type="pt",
            ).images
        return images

    def _without_data(self, work: Callable[[], T]) -> T | None:
        """What ``work`` returns; on ``meta`` None for what needs values, such as a merge or a router's choice."""
        try:
            return work()
        except (NotImplementedError, RuntimeError):
            if self.device != "meta":
                raise
            return None

    def _text(self, case: Case, rows: int) -> Tensor:
        return self._states(self.denoiser(case.method, case.n_models), rows)

    def _states(self, denoiser: Denoiser, rows: int) -> Tensor:
        length: int = self.architecture.text["max_position_embeddings"]
        ids = torch.zeros(rows, length, dtype=torch.long, device=self.device)
        return torch.cat([encoder(ids).last_hidden_state for encoder in denoiser.text_encoders], dim=-1)

    def _latents(self, rows: int) -> Tensor:
        side = self.architecture.size // 2 ** (len(self.parts.vae.config.block_out_channels) - 1)
        return torch.ones(rows, self.parts.vae.config.latent_channels, side, side, device=self.device, dtype=self.dtype)


def _group(models: Sequence[Model]) -> Group:
    """The group of these models, which lie nowhere."""
    return Group(
        name="bench", pipeline=Path(), models=tuple(ModelRef(name=model.name, path=Path(model.name)) for model in models)
    )


def _flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def count(workshop: Workshop, cases: Sequence[Case]) -> list[Measured]:
    """Parameters and operations of each case, without measuring time."""
    trained: dict[tuple[str, int], float | None] = {}
    found = []
    for case in cases:
        key = (case.method, case.n_models)
        if key not in trained:
            trained[key] = workshop.train_tflops(case)
        found.append(Measured(case, workshop.parameters(case), workshop.tflops(case), trained[key]))
    return found


def measure(workshop: Workshop, found: Sequence[Measured], rounds: int) -> Iterator[Measured]:
    """Add seconds, ratios and memory; yields each case after each of its generations.

    The rounds go through all cases in turn, so that what else the machine does falls on all of them alike. The first one measures
    memory and is not timed.

    Raises:
        UserError: out of memory.
    """
    for turn in range(rounds + 1):
        for one in found:
            try:
                if turn == 0:
                    added = added_peak(partial(workshop.generate, one.case), workshop.device)
                    one.peak_bytes = None if added is None else workshop.weights(one.case) + added
                else:
                    one.times.append(_seconds(partial(workshop.generate, one.case), workshop.device))
            except torch.OutOfMemoryError as error:
                case = one.case
                raise UserError(
                    f"{case.method} on {case.n_models} models with {case.images} images: out of memory: ask for less"
                ) from error
            yield one
    most = max(one.case.steps for one in found)
    base = {one.case.images: one for one in found if one.case.method == BASE and one.case.steps == most}
    for one in found:
        if one.times and base[one.case.images].times:
            one.ratio = statistics.median(one.times) / statistics.median(base[one.case.images].times)


def _seconds(work: Callable[[], object], device: str) -> float:
    begun = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
