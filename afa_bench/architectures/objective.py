"""What denoisers are asked and what the right answer is: the noise, its velocity, or a flow's velocity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor
from typing_extensions import override

from afa_bench.errors import UserError

Conditions: TypeAlias = Mapping[str, Tensor]
"""What a denoiser is told beside the latents, a row a sample: ``prompt_embeds`` ``(B, L, D)``; SDXL's and FLUX'
``pooled_prompt_embeds`` ``(B, P)``; SDXL's ``time_ids`` ``(B, 6)``: the image's height and width, the top and left of the crop,
and the crop's height and width, in pixels."""

Denoise: TypeAlias = Callable[..., Any]
"""Called as ``pipe.unet`` or ``pipe.transformer`` is."""


class Objective(ABC):
    """How clean latents are noised, what is predicted from them, and how the denoiser is called.

    Latents and noise are ``(B, C, H, W)``; timesteps ``(B,)`` are whole numbers from 0 (clean) to below ``timesteps``.

    Attributes:
        guidance: the scale that a model which was distilled for guidance is told; None: it takes none.
    """

    guidance: float | None = None

    @property
    @abstractmethod
    def timesteps(self) -> int:
        """How many there are."""

    @abstractmethod
    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser sees."""

    @abstractmethod
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What it should say."""

    @abstractmethod
    def predict(self, denoise: Denoise, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """What it says, ``(B, C, H, W)``."""


class Diffusion(Objective):
    """The noise, or the velocity, as the scheduler's ``prediction_type`` says, by a U-Net.

    Args:
        scheduler: of diffusers, with ``add_noise``.

    Raises:
        UserError: a prediction type other than epsilon and v_prediction.
    """

    def __init__(self, scheduler: Any) -> None:
        kind = scheduler.config.get("prediction_type", "epsilon")
        if kind not in ("epsilon", "v_prediction"):
            raise UserError(f"prediction_type: {kind}; expected epsilon or v_prediction")
        self.scheduler = scheduler
        self.velocity = kind == "v_prediction"

    @property
    @override
    def timesteps(self) -> int:
        return int(self.scheduler.config.num_train_timesteps)

    @override
    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return self.scheduler.add_noise(latents, noise, timesteps)  # type: ignore[no-any-return]

    @override
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return self.scheduler.get_velocity(latents, noise, timesteps) if self.velocity else noise

    def parted(self, noisy: Tensor, predicted: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The clean latents and the noise, ``(B, C, H, W)`` each, of which noisy ones consist by what was predicted of them."""
        share = self.scheduler.alphas_cumprod.to(noisy)[timesteps][:, None, None, None]
        signal, rest = share.sqrt(), (1 - share).sqrt()
        if self.velocity:
            return signal * noisy - rest * predicted, signal * predicted + rest * noisy
        return (noisy - rest * predicted) / signal, predicted

    @override
    def predict(self, denoise: Denoise, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        named: dict[str, Any] = {"return_dict": False}
        if "time_ids" in conditions:
            pooled = conditions["pooled_prompt_embeds"]
            named["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": conditions["time_ids"]}
        return denoise(noisy, timesteps, conditions["prompt_embeds"], **named)[0]  # type: ignore[no-any-return]


class Flow(Objective):
    """Flow matching: latents and noise are mixed in a straight line, whose direction is predicted.

    The share of noise of timestep i is the scheduler's (i + 1)-th smallest sigma, before any shift that depends on the image's
    size: for FLUX.1, ``(i + 1) / 1000``. How the denoiser is called is left to an architecture's own.

    Args:
        scheduler: diffusers' ``FlowMatchEulerDiscreteScheduler``; its configuration alone counts.
        guidance: see :class:`Objective`.
    """

    def __init__(self, scheduler: Any, guidance: float | None = None) -> None:
        self.sigmas = type(scheduler).from_config(scheduler.config).sigmas.flip(0)  # sampling changes those of a scheduler
        self.guidance = guidance

    @property
    @override
    def timesteps(self) -> int:
        return len(self.sigmas)

    @override
    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``(1 - sigma) * latents + sigma * noise``."""
        sigma = self.sigma(timesteps, latents)[:, None, None, None]
        return (1 - sigma) * latents + sigma * noise

    @override
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``noise - latents``."""
        return noise - latents

    def sigma(self, timesteps: Tensor, like: Tensor) -> Tensor:
        """The shares of noise ``(B,)``, in the number format and on the device of ``like``."""
        return self.sigmas[timesteps.cpu()].to(like)  # type: ignore[no-any-return]
