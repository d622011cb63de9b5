"""Training of SABW on frozen models (the paper, sections 3.4 and 4.1).

A step depends on nothing but the weights, the seed and the step's number, so that a training which was stopped and resumed ends
with the bits of one which was not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from afa_bench.afa.ensemble import EnsembleUNet
from afa_bench.afa.sabw import SABW
from afa_bench.errors import UserError

Batches: TypeAlias = Callable[[int], tuple[Tensor, Tensor]]
"""step -> latents ``(B, C, H, W)``, scaled as the U-Nets see them, and the models' text states side by side ``(B, L, N * D)``."""


@dataclass(frozen=True)
class Training:
    """How SABW is trained; the defaults are the paper's.

    Attributes:
        steps: number of optimizer steps (the paper: 10 epochs of 10,000 pairs in batches of 8 = 12,500).
        lr: AdamW's learning rate.
        weight_decay: AdamW's.
        text_dropout: the share of samples whose text is replaced by the empty prompt, drawn for each sample.
        warmup: steps over which the learning rate rises from zero (the paper: none).
        cooldown: last steps over which it falls back to zero (the paper: none).
        seed: of noise, timesteps and text dropout.
    """

    steps: int = 12_500
    lr: float = 1e-4
    weight_decay: float = 0.01
    text_dropout: float = 0.1
    warmup: int = 0
    cooldown: int = 0
    seed: int = 0

    def lr_at(self, step: int) -> float:
        """The learning rate of a step (counted from 0)."""
        rise = (step + 1) / self.warmup if self.warmup else 1.0
        fall = (self.steps - step) / self.cooldown if self.cooldown else 1.0
        return self.lr * min(1.0, rise, fall)


def train_sabw(
    ensemble: EnsembleUNet,
    scheduler: Any,
    batches: Batches,
    empty: Tensor,
    training: Training = Training(),
    checkpoint: Path | None = None,
    checkpoint_every: int = 500,
    progress: Callable[[int, float], None] | None = None,
) -> SABW:
    """Train the ensemble's SABW in place and return it; no weight of a model gets a gradient.

    Args:
        ensemble: its ``aggregate`` is the SABW to train.
        scheduler: of diffusers, with ``add_noise`` and ``config.num_train_timesteps``; the models must predict the noise.
        batches: what to train on; a step's batch must depend on the step's number alone for a resume to be exact.
        empty: the empty prompt's text states ``(1, L, N * D)``.
        training: how.
        checkpoint: a file which is written every ``checkpoint_every`` steps and at the end; where it exists, the training goes on
            from it.
        progress: called after each step with the number of steps done and the step's loss.

    Raises:
        UserError: the aggregator is no SABW, the scheduler's models do not predict the noise, or the checkpoint is of another
            training.
    """
    sabw = ensemble.aggregate
    if not isinstance(sabw, SABW):
        raise UserError(f"train: aggregate: {type(sabw).__name__}; expected a SABW")
    if scheduler.config.get("prediction_type", "epsilon") != "epsilon":
        raise UserError(f"train: prediction_type: {scheduler.config.prediction_type}; expected epsilon")
    ensemble.eval().requires_grad_(False)
    sabw.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(sabw.parameters(), lr=training.lr, weight_decay=training.weight_decay, fused=True)
    first = _resume(checkpoint, sabw, optimizer, training) if checkpoint is not None and checkpoint.exists() else 0
    for step in range(first, training.steps):
        for group in optimizer.param_groups:
            group["lr"] = training.lr_at(step)
        loss = denoising_loss(ensemble, scheduler, *batches(step), empty, training.text_dropout, generator(training.seed, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = step + 1
        if checkpoint is not None and (done % checkpoint_every == 0 or done == training.steps):
            _save(checkpoint, sabw, optimizer, training, done)
        if progress is not None:
            progress(done, loss.item())
    return sabw.eval().requires_grad_(False)  # type: ignore[no-any-return]


def denoising_loss(
    ensemble: EnsembleUNet,
    scheduler: Any,
    latents: Tensor,
    text: Tensor,
    empty: Tensor,
    text_dropout: float,
    random: torch.Generator,
) -> Tensor:
    """The mean squared error on the noise, in fp32, at uniformly drawn timesteps (equation 12)."""
    count = len(latents)
    timesteps = torch.randint(scheduler.config.num_train_timesteps, (count,), generator=random).to(latents.device)
    noise = torch.randn(latents.shape, generator=random).to(latents)
    dropped = (torch.rand(count, generator=random) < text_dropout).to(text.device)
    text = torch.where(dropped[:, None, None], empty.to(text), text)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    predicted = ensemble(noisy, timesteps, text, return_dict=False)[0]
    return mse_loss(predicted.float(), noise.float())


def generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step: on the CPU, hence the same for every device."""
    word = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word) >> 1)


def shuffled(latents: Tensor, text: Tensor, batch_size: int, seed: int = 0) -> Batches:
    """Batches from tensors in memory, each epoch in its own random order; an epoch's incomplete last batch is left out.

    Args:
        latents: ``(P, C, H, W)``.
        text: ``(P, L, N * D)``.
        batch_size: at most P.
        seed: of the orders.
    """
    per_epoch = len(latents) // batch_size
    if per_epoch == 0:
        raise UserError(f"train: batch size: {batch_size}; expected at most the number of pairs, {len(latents)}")
    orders: dict[int, Tensor] = {}

    def batch(step: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(step, per_epoch)
        if epoch not in orders:
            orders.clear()
            orders[epoch] = torch.randperm(len(latents), generator=generator(seed, epoch))
        rows = orders[epoch][place * batch_size : (place + 1) * batch_size]
        return latents[rows], text[rows]

    return batch


def _save(path: Path, sabw: SABW, optimizer: torch.optim.Optimizer, training: Training, done: int) -> None:
    """A whole checkpoint or none: written beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    state = {"done": done, "training": asdict(training), "sabw": sabw.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, part)
    os.replace(part, path)


def _resume(path: Path, sabw: SABW, optimizer: torch.optim.Optimizer, training: Training) -> int:
    """Load a checkpoint; the number of steps already done."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key, expected in asdict(training).items():
        if state["training"].get(key) != expected:
            raise UserError(f"{path}: {key}: this checkpoint has {state['training'].get(key)!r}, the training {expected!r}")
    sabw.load_state_dict(state["sabw"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["done"])
