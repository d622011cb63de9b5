"""How is trained: the numbers, with the paper's as defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from afa_bench.architectures.flux import GUIDANCE
from afa_bench.errors import UserError

MOST = 2**63
"""Below which whole numbers are: those that torch takes for a seed."""

Positive = Annotated[int, Field(ge=1, lt=MOST)]
Count = Annotated[int, Field(ge=0, lt=MOST)]
Share = Annotated[float, Field(ge=0, le=1)]


class LCM(BaseModel):
    """Latent consistency distillation (Luo et al., 2023, "Latent Consistency Models"; the paper's appendix K).

    Attributes:
        guidance: the teacher's scale of classifier-free guidance. U-Nets that are not told a scale learn this one alone; they
            are then sampled without guidance.
        skipping: timesteps that a step of the teacher's solver goes back.
        ema: decay of the averaged weights of which the student's target is made.
        huber_c: up to errors of about this size the loss is quadratic, beyond it linear.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    guidance: Annotated[float, Field(ge=0)] = 7.5
    skipping: Positive = 20
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.95
    huber_c: Annotated[float, Field(gt=0)] = 0.001


class Settings(BaseModel):
    """AdamW on the denoising loss; the defaults are the paper's (section 4.1).

    Attributes:
        epochs: times that each pair is seen.
        steps: number of optimizer steps, in place of epochs; all of a folder's training together, if it goes on.
        batch: pairs a step, of all processes and accumulated parts together.
        accumulation: parts in which each process computes its share of a batch, one after the other, to save memory.
        lr, weight_decay: AdamW's.
        warmup: steps over which the learning rate rises from zero (the paper: none).
        cooldown: last steps over which it falls back to zero (the paper: none).
        max_grad_norm: gradients are scaled down to at most this norm; None: not at all.
        ema: decay of averaged weights, which are then what is validated and saved; None: none.
        text_dropout: share of samples that are trained with the empty prompt.
        mixed_precision: number format of the frozen models and of the computation; the learned part and its optimizer stay in
            fp32. None: as ``accelerate launch`` says.
        gradient_checkpointing: compute each block again on the way back, so that one block of one model at a time keeps what
            its gradient needs.
        guidance: the scale that a model which was distilled for guidance is told, such as FLUX.1 [dev].
        lcm: distil what the training begins with to few steps, in place of the denoising loss.
        seed: of the order of the pairs, noise, timesteps and text dropout.
        log_every, validate_every, checkpoint_every: steps between them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Positive = 10
    steps: Positive | None = None
    batch: Positive = 8
    accumulation: Positive = 1
    lr: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Count = 0
    cooldown: Count = 0
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    text_dropout: Share = 0.1
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    gradient_checkpointing: bool = False
    guidance: Annotated[float, Field(ge=0)] = GUIDANCE
    lcm: LCM | None = None
    seed: Count = 0
    log_every: Positive = 10
    validate_every: Positive = 500
    checkpoint_every: Positive = 500

    def steps_for(self, pairs: int) -> int:
        """Optimizer steps of a training on so many pairs; an epoch's incomplete last batch is left out.

        Raises:
            UserError: fewer than the learning rate takes to rise and to fall.
        """
        steps = self.steps or self.epochs * (pairs // self.batch)
        if self.warmup + self.cooldown > steps:
            key = "warmup" if self.warmup else "cooldown"
            both = f"{self.warmup} and cooldown: {self.cooldown}" if self.warmup and self.cooldown else getattr(self, key)
            raise UserError(f"{key}: {both}; expected no more than the {steps} steps of the training")
        return steps

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate of a step (counted from 0) of so many."""
        rise = (step + 1) / self.warmup if self.warmup else 1.0
        fall = (steps - step) / self.cooldown if self.cooldown else 1.0
        return self.lr * min(1.0, rise, fall)
