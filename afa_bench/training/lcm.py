"""Latent consistency distillation of a learned part, on frozen models (Luo et al., 2023, "Latent Consistency Models").

The teacher, the student and its target are one denoiser with three sets of weights of the learned part; the models are shared.
The teacher's solver goes some timesteps back from a noisy latent; the clean latents that the student sees in the first shall be
those which its target, an average of the student's weights, sees in the second.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import LCMScheduler
from torch import Tensor, nn
from torch.func import functional_call

from afa_bench.architectures.objective import Conditions, Denoise, Diffusion, Objective
from afa_bench.errors import UserError
from afa_bench.training.loss import Draw, without_text
from afa_bench.training.settings import LCM
from afa_bench.training.trainable import Learner


class Distillation:
    """The loss of a student, and the teacher and target that it is measured by.

    Args:
        denoise: the student, called as ``pipe.unet`` is.
        learner: its denoiser and learned part. As this is made, the learned part's weights are the teacher's.
        objective: what the models predict.
        settings: of the distillation.

    Raises:
        UserError: models of a flow.
    """

    def __init__(self, denoise: Denoise, learner: Learner, objective: Objective, settings: LCM) -> None:
        if not isinstance(objective, Diffusion):
            raise UserError("lcm: expected models that predict noise or its velocity; those of a flow cannot be distilled so")
        self.denoise, self.objective, self.settings = denoise, objective, settings
        self.unet, self.learned = learner.denoiser.unet, learner.learned
        self.teacher, self.target = (copy.deepcopy(self.learned).requires_grad_(False) for _ in range(2))
        names = {id(value): name for name, value in self.unet.named_parameters()}
        self.names = [names[id(value)] for value in self.learned.parameters()]
        self.scheduler = LCMScheduler.from_config(objective.scheduler.config)

    @property
    def parts(self) -> Mapping[str, Any]:
        """What a checkpoint has to hold."""
        return {"teacher": self.teacher, "target": self.target}

    def __call__(self, latents: Tensor, conditions: Conditions, empty: Conditions, drawn: Draw) -> Tensor:
        """The mean pseudo-Huber distance in fp32; arguments are those of :func:`afa_bench.training.loss.denoising_loss`."""
        timesteps = drawn.timesteps.to(latents.device)
        earlier = (timesteps - self.settings.skipping).clamp(min=0)
        given = without_text(conditions, empty, drawn.dropped)
        noisy = self.objective.noisy(latents, drawn.noise.to(latents), timesteps)
        with torch.no_grad(), self.having(self.teacher) as teacher:
            nearer = self.solved(teacher, noisy, timesteps, earlier, given, empty)
        with torch.no_grad(), self.having(self.target) as target:
            expected = self.consistent(target, nearer, earlier, given)
        error = self.consistent(self.denoise, noisy, timesteps, given) - expected
        c = self.settings.huber_c
        return torch.mean((error.square() + c**2).sqrt() - c)

    def solved(
        self, teacher: Denoise, noisy: Tensor, timesteps: Tensor, earlier: Tensor, conditions: Conditions, empty: Conditions
    ) -> Tensor:
        """Noisy latents ``(B, C, H, W)`` after one step of DDIM from timesteps to earlier ones ``(B,)``, with guidance."""
        free = without_text(conditions, empty, torch.ones_like(timesteps, dtype=torch.bool))
        asked, unasked = (self.objective.predict(teacher, noisy, timesteps, each).float() for each in (conditions, free))
        guided = unasked + self.settings.guidance * (asked - unasked)
        return self.objective.noisy(*self.objective.parted(noisy, guided, timesteps), earlier)

    def consistent(self, denoise: Denoise, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """The consistency function ``c_skip * noisy + c_out * clean``, which is ``noisy`` itself at timestep 0."""
        predicted = self.objective.predict(denoise, noisy, timesteps, conditions).float()
        clean, _ = self.objective.parted(noisy, predicted, timesteps)
        skip, out = self.scheduler.get_scalings_for_boundary_condition_discrete(timesteps[:, None, None, None])
        mixed: Tensor = skip * noisy + out * clean
        return mixed

    def follow(self) -> None:
        """Bring the target a step closer to the student; called after each step of the optimizer."""
        with torch.no_grad():
            for kept, now in zip(self.target.parameters(), self.learned.parameters(), strict=True):
                kept.lerp_(now, 1 - self.settings.ema)

    @contextmanager
    def having(self, weights: nn.Module) -> Iterator[Denoise]:
        """The denoiser with other weights in the place of the learned part's, in eval mode."""
        swapped: dict[str, Tensor] = dict(zip(self.names, weights.parameters(), strict=True))
        training = self.learned.training
        self.learned.eval()
        try:
            yield lambda *given, **named: functional_call(self.unet, swapped, given, named)
        finally:
            self.learned.train(training)
