"""Where a sample first stops being finite: in which step of the sampler, or in the VAE."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor


class NonFiniteMonitor:
    """Looks on while a pipeline draws a batch, which is called within the block and with ``callback_on_step_end=monitor.step``.

    A pipeline clamps its images, and an infinite pixel then looks white: so the latents of every step and what the VAE's decoder
    gives are looked at instead. Nothing waits for the device before :meth:`errors`.

    Args:
        pipeline: a stock diffusers pipeline.
    """

    def __init__(self, pipeline: Any) -> None:
        self.decoder = pipeline.vae.decoder
        self._steps: list[Tensor] = []
        self._decoded: list[Tensor] = []

    def __enter__(self) -> NonFiniteMonitor:
        self._hook = self.decoder.register_forward_hook(lambda module, inputs, pixels: self._decoded.append(_finite(pixels)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hook.remove()

    def step(self, pipeline: Any, index: int, time: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the pipeline calls after each step; changes nothing."""
        self._steps.append(_finite(tensors["latents"]))
        return {}

    def errors(self) -> list[str | None]:
        """For each sample of the batch, None, or where it first stopped being finite."""
        steps = torch.stack(self._steps).cpu()  # (T, B)
        decoded = torch.cat(self._decoded).cpu()  # (B,)
        return [_error(steps[:, index], bool(decoded[index])) for index in range(len(decoded))]


def _finite(batch: Tensor) -> Tensor:
    return batch.isfinite().flatten(1).all(1)


def _error(steps: Tensor, decoded: bool) -> str | None:
    if not steps.all():
        return f"not finite from step {int(steps.int().argmin()) + 1} of {len(steps)}"
    return None if decoded else f"not finite after the VAE; its latents were in all {len(steps)} steps"
