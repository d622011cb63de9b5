"""Whether a scheduler samples models of a kind: tried on a model that knows the answer.

All images of that model are one and the same, so what it has to say of any noisy one is known, and whoever samples it rightly
ends at the image. A scheduler of another parametrisation does not, or fails: nothing needs to be listed.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias

from afa_bench.architectures.kind import EPSILON, FLOW, VELOCITY

if TYPE_CHECKING:
    from torch import Tensor

ANSWER = 0.5
"""The image, everywhere; the noise has a standard deviation of 1."""
STEPS = 20
FAR = 0.25
"""How far from the image a right one ends at most: some leave noise, most of all DDIM's ``linspace``."""
OTHER = 0.05
"""How far the shares of the image in another noise schedule are off; that of zero SNR is another setting of the same one."""

FAILS = (
    TypeError, ValueError, AttributeError, LookupError, RuntimeError, ArithmeticError, ImportError, AssertionError,
)  # fmt: skip
"""What a scheduler raises that is called as one for other models."""

Answer: TypeAlias = Callable[..., Any]
"""What the model says of noisy images at a timestep."""


def fault(scheduler: Any, prediction: str, reference: Any) -> str:
    """Why a scheduler does not sample models; empty where it does, or where nothing is known of their noise.

    Args:
        scheduler: of diffusers.
        prediction: what the models predict.
        reference: the architecture's own scheduler with the models' noise schedule.
    """
    import torch

    shares: Any = getattr(reference, "alphas_cumprod", None)
    if prediction != FLOW and shares is None:
        return ""
    try:
        end = _sampled(scheduler, _flow if prediction == FLOW else _usual(prediction, shares), prediction == FLOW)
    except FAILS as error:
        return f"{type(error).__name__}: {error}"
    if not (torch.isfinite(end).all() and float((end - ANSWER).abs().max()) < FAR):
        return "what it samples is noise"
    own = getattr(scheduler, "alphas_cumprod", shares)
    return "" if prediction == FLOW or float((own - shares).abs().max()) < OTHER else "it has a noise schedule of its own"


def set_steps(scheduler: Any, steps: int) -> None:
    """Set a number of steps as the stock pipelines do; those of flow matching give the noise levels and the shift."""
    import numpy as np

    if "FlowMatch" not in type(scheduler).__name__:
        scheduler.set_timesteps(steps)
    else:
        shift = {"mu": 1.0} if "mu" in signature(scheduler.set_timesteps).parameters else {}
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), **shift)


def _sampled(scheduler: Any, answer: Answer, flow: bool) -> Any:
    """What comes of noise, ``(1, 4, 4, 4)``, as the stock pipelines sample."""
    import torch

    set_steps(scheduler, STEPS)
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 4, 4, generator=random) * (1 if flow else scheduler.init_noise_sigma)
    known = signature(scheduler.step).parameters
    further = {key: value for key, value in {"eta": 0.0, "generator": random}.items() if key in known}
    for step in scheduler.timesteps:
        seen = latents if flow else scheduler.scale_model_input(latents, step)
        latents = scheduler.step(answer(seen, float(step)), step, latents, **further, return_dict=False)[0]
    return latents


def _usual(prediction: str, shares: Tensor) -> Answer:
    """Args: what is predicted, and the share of the image's variance at each timestep, ``(T,)``."""
    import numpy as np

    angles = shares.double().clamp(0, 1).sqrt().arccos().numpy()  # the cosine is the image's share, the sine that of the noise

    def answer(seen: Tensor, timestep: float) -> Any:
        if not -0.5 <= timestep < len(angles):
            raise ValueError(f"timestep {timestep:g}, expected 0 to {len(angles) - 1}")
        angle = float(np.interp(timestep, np.arange(len(angles)), angles))
        noise = (seen - np.cos(angle) * ANSWER) / np.sin(angle)
        if prediction == EPSILON:
            return noise
        return np.cos(angle) * noise - np.sin(angle) * ANSWER if prediction == VELOCITY else seen * 0 + ANSWER

    return answer


def _flow(seen: Tensor, timestep: float) -> Any:
    """The noise less the image; timesteps are thousandths of the share of noise."""
    return (seen - ANSWER) / (timestep / 1000)
