"""What denoisers are asked and what the right answer is: the noise or its velocity for U-Nets, a flow's velocity for FLUX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from afa_bench.errors import UserError

Conditions: TypeAlias = Mapping[str, Tensor]
"""What a denoiser is told beside the latents, a row a sample: ``prompt_embeds`` ``(B, L, D)``; SDXL's and FLUX'
``pooled_prompt_embeds`` ``(B, P)``; SDXL's ``time_ids`` ``(B, 6)``: the image's height and width, the top and left of the crop,
and the crop's height and width, in pixels."""

Denoise: TypeAlias = Callable[..., Any]
"""Called as ``pipe.unet`` or ``pipe.transformer`` is."""


class Objective(Protocol):
    """How clean latents are noised, and what is predicted from them.

    Latents and noise are ``(B, C, H, W)``; timesteps ``(B,)`` are whole numbers from 0 (clean) to below ``timesteps``.
    """

    @property
    def timesteps(self) -> int:
        """How many there are."""

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser sees."""

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What it should say."""

    def predict(self, denoise: Denoise, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """What it says, ``(B, C, H, W)``."""


@dataclass(frozen=True)
class Diffusion:
    """The noise, or the velocity, as the scheduler's ``prediction_type`` says: the U-Nets of Stable Diffusion 1.5 and SDXL.

    Args:
        scheduler: of diffusers, with ``add_noise``.

    Raises:
        UserError: a prediction type other than epsilon and v_prediction.
    """

    scheduler: Any

    def __post_init__(self) -> None:
        kind = self.scheduler.config.get("prediction_type", "epsilon")
        if kind not in ("epsilon", "v_prediction"):
            raise UserError(f"prediction_type: {kind}; expected epsilon or v_prediction")

    @property
    def velocity(self) -> bool:
        """Whether the velocity is predicted, and not the noise."""
        return bool(self.scheduler.config.get("prediction_type", "epsilon") == "v_prediction")

    @property
    def timesteps(self) -> int:
        """Of the noise schedule."""
        return int(self.scheduler.config.num_train_timesteps)

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """By the noise schedule."""
        return self.scheduler.add_noise(latents, noise, timesteps)  # type: ignore[no-any-return]

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise or the velocity."""
        return self.scheduler.get_velocity(latents, noise, timesteps) if self.velocity else noise

    def parted(self, noisy: Tensor, predicted: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The clean latents and the noise, ``(B, C, H, W)`` each, of which noisy ones consist by what was predicted of them."""
        share = self.scheduler.alphas_cumprod.to(noisy)[timesteps][:, None, None, None]
        signal, rest = share.sqrt(), (1 - share).sqrt()
        if self.velocity:
            return signal * noisy - rest * predicted, signal * predicted + rest * noisy
        return (noisy - rest * predicted) / signal, predicted

    def predict(self, denoise: Denoise, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """By a U-Net."""
        named: dict[str, Any] = {"return_dict": False}
        if "time_ids" in conditions:
            pooled = conditions["pooled_prompt_embeds"]
            named["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": conditions["time_ids"]}
        return denoise(noisy, timesteps, conditions["prompt_embeds"], **named)[0]  # type: ignore[no-any-return]


class Flow:
    """Flow matching, as FLUX is trained: latents and noise are mixed in a straight line, whose direction is predicted.

    The share of noise of timestep i is the scheduler's (i + 1)-th smallest sigma, before any shift that depends on the image's
    size: for FLUX.1, ``(i + 1) / 1000``.

    Args:
        scheduler: diffusers' ``FlowMatchEulerDiscreteScheduler``; its configuration alone counts.
        guidance: the scale that a model which was distilled for guidance is told; None: it takes none.
    """

    def __init__(self, scheduler: Any, guidance: float | None = None) -> None:
        self.sigmas = type(scheduler).from_config(scheduler.config).sigmas.flip(0)  # sampling changes those of a scheduler
        self.guidance = guidance

    @property
    def timesteps(self) -> int:
        """Of the schedule."""
        return len(self.sigmas)

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``(1 - sigma) * latents + sigma * noise``."""
        sigma = self._sigma(timesteps, latents)[:, None, None, None]
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``noise - latents``."""
        return noise - latents

    def predict(self, denoise: Denoise, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """By a FLUX transformer, whose tokens are 2 x 2 latents each."""
        text, (rows, columns) = conditions["prompt_embeds"], (side // 2 for side in noisy.shape[-2:])
        sigma = self._sigma(timesteps, noisy)
        tokens = denoise(
            hidden_states=packed(noisy),
            timestep=sigma,
            guidance=None if self.guidance is None else torch.full_like(sigma, self.guidance),
            pooled_projections=conditions["pooled_prompt_embeds"],
            encoder_hidden_states=text,
            txt_ids=text.new_zeros(text.shape[1], 3),
            img_ids=torch.cartesian_prod(torch.zeros(1).long(), torch.arange(rows), torch.arange(columns)).to(noisy),
            return_dict=False,
        )[0]
        return pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), 2)

    def _sigma(self, timesteps: Tensor, like: Tensor) -> Tensor:
        return self.sigmas[timesteps.cpu()].to(like)  # type: ignore[no-any-return]


def packed(latents: Tensor) -> Tensor:
    """FLUX' image tokens ``(B, H / 2 * W / 2, 4 * C)``, row by row, of latents ``(B, C, H, W)`` with even sides."""
    return pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def objective_of(scheduler: Any, denoiser: Any, guidance: float) -> Objective:
    """What the models of a scheduler predict.

    Args:
        scheduler: of diffusers.
        denoiser: a model or an ensemble; its configuration says whether it is told a guidance scale.
        guidance: this scale.

    Raises:
        UserError: a prediction type other than epsilon and v_prediction.
    """
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return Flow(scheduler, guidance if denoiser.config.guidance_embeds else None)
    return Diffusion(scheduler)
