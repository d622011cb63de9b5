"""What AFA costs: time and peak memory of a training step and of a sampling step."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from afa_bench.afa.sabw import SABW
from afa_bench.architectures.objective import Diffusion
from afa_bench.bench.live import LiveBytes
from afa_bench.ensembles.build import build_ensemble
from afa_bench.errors import UserError
from afa_bench.training.loss import Draw, denoising_loss

Prepare: TypeAlias = Callable[[], Callable[[], None]]
"""Brings models and inputs into memory, and returns a step."""


@dataclass(frozen=True)
class UNetShape:
    """A U-Net to make N of: its configuration, pixels a latent, tokens of a text, SABW's width."""

    config: dict[str, Any]
    factor: int
    tokens: int
    hidden: int


ARCHITECTURES = {
    "sd15": UNetShape({"cross_attention_dim": 768}, 8, 77, 128),
    "mini": UNetShape(
        {
            "in_channels": 8,
            "out_channels": 8,
            "block_out_channels": (32, 64, 64, 64),
            "cross_attention_dim": 128,
            "attention_head_dim": 2,
            "norm_num_groups": 8,
        },
        4,
        16,
        16,
    ),
}


@dataclass(frozen=True)
class Cost:
    """Seconds of a step (None: not timed) and the most bytes that tensors took in it, the models' own included."""

    seconds: float | None
    peak: int

    @property
    def time(self) -> str:
        """As in the table."""
        return "" if self.seconds is None else f"{self.seconds:.3f} s"

    @property
    def memory(self) -> str:
        """As in the table."""
        return f"{self.peak / 1e9:.2f} GB" if self.peak >= 1e9 else f"{self.peak / 1e6:.0f} MB"


@dataclass(frozen=True)
class Measured:
    """The costs of an ensemble of ``models``, of whose parameters ``learned`` learn."""

    models: int
    learned: int
    training: Cost
    checkpointed: Cost
    sampling: Cost


def measure(
    architecture: str, models: int, size: int, batch: int, dtype: str, repeats: int, device: str, count: bool = False
) -> Measured:
    """Measure AFA on models with random weights.

    Args:
        architecture: a key of :data:`ARCHITECTURES`.
        models: N.
        size: of the images in pixels.
        batch: images of a training step. A sampling step makes one image with classifier-free guidance: two rows.
        dtype: of the frozen models. SABW is trained in fp32 under autocast, and samples in ``dtype``.
        repeats: steps that are timed, after one that is not.
        device: where.
        count: compute nothing and time nothing, only count what tensors take on the CPU; libraries' workspaces do not count.

    Raises:
        UserError: an unknown number format, or a size that gives no latents.
    """
    kind, precision = ARCHITECTURES[architecture], getattr(torch, dtype, None)
    if precision not in (torch.float32, torch.float16, torch.bfloat16):
        raise UserError(f"--dtype: {dtype}; expected float32, float16 or bfloat16")
    side = size // kind.factor
    if side < 8:
        raise UserError(f"--size: {size}; expected at least {8 * kind.factor}")
    where = torch.device("cpu" if count else device)

    def run(build: Prepare) -> Cost:
        gc.collect()
        with FakeTensorMode(allow_non_fake_inputs=True) if count else nullcontext():
            return _cost(build, where, 0 if count else repeats)

    def make() -> tuple[nn.Module, SABW]:
        with torch.device("meta"):
            made = [UNet2DConditionModel(**kind.config).eval().requires_grad_(False) for _ in range(models)]
            unets = [nn.Module.to(unet, precision) for unet in made]  # diffusers' own warns of parts in fp32, it has none
            sabw = SABW.for_model(unets[0], models, hidden=kind.hidden)
            return build_ensemble(unets, sabw), sabw

    def inputs(rows: int, number_format: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        latents = torch.randn(rows, kind.config.get("in_channels", 4), side, side, device=where, dtype=number_format)
        text = torch.randn(rows, kind.tokens, models * kind.config["cross_attention_dim"], device=where, dtype=number_format)
        return latents, text

    def training(checkpointing: bool) -> Prepare:
        denoiser, sabw = make()
        sabw.float().train().requires_grad_(True)
        if checkpointing:
            denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
        objective = Diffusion(DDIMScheduler())

        def prepare() -> Callable[[], None]:
            _materialise(denoiser, where)
            optimizer = torch.optim.AdamW(sabw.parameters())
            latents, text = inputs(batch, torch.float32)
            told, empty = {"prompt_embeds": text}, {"prompt_embeds": text[:1]}
            drawn = Draw(torch.full((batch,), 500), torch.randn(latents.shape), torch.zeros(batch, dtype=torch.bool))

            def step() -> None:
                with torch.autocast(where.type, precision, enabled=precision != torch.float32):
                    loss = denoising_loss(denoiser, objective, latents, told, empty, drawn)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()

            return step

        return prepare

    def sampling() -> Prepare:
        denoiser, _ = make()

        def prepare() -> Callable[[], None]:
            _materialise(denoiser, where)
            latents, text = inputs(2, precision)

            def step() -> None:
                with torch.no_grad():
                    denoiser(latents, torch.tensor(500, device=where), text)

            return step

        return prepare

    learned = sum(parameter.numel() for parameter in make()[1].parameters())
    return Measured(models, learned, run(training(False)), run(training(True)), run(sampling()))


def _materialise(module: nn.Module, where: torch.device) -> None:
    """Give tensors without memory some, with random weights in it."""
    for part in module.modules():
        tables: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
        for tensors in tables:
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_meta:
                    filled = torch.empty(tensor.shape, dtype=tensor.dtype, device=where).normal_(std=0.02)
                    tensors[name] = nn.Parameter(filled, tensor.requires_grad) if tensors is part._parameters else filled


def _cost(build: Prepare, where: torch.device, repeats: int) -> Cost:
    """The cost of the steps that ``build`` prepares; memory of the second step, when the optimizer has its state."""
    if where.type == "cuda":
        step = build()
        step()
        torch.cuda.reset_peak_memory_stats(where)
        seconds = [_timed(step, where) for _ in range(repeats)]
        return Cost(statistics.median(seconds), torch.cuda.max_memory_allocated(where))
    with LiveBytes() as live:
        step = build()
        step()
        live.peak = live.now
        step()
    return Cost(statistics.median(_timed(step, where) for _ in range(repeats)) if repeats else None, live.peak)


def _timed(step: Callable[[], None], where: torch.device) -> float:
    began = time.perf_counter()
    step()
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    return time.perf_counter() - began
