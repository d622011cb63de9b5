"""The training loop that the parts of the zoo share: deterministic, exactly resumable, on one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from afa_bench.store.atomic import writing

Report = Callable[[int, int, float], None]  # step, steps, recent loss


@dataclass
class Losses:
    """What a training run leaves behind: ``(step, mean loss since the last entry)`` and the seconds it took."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0


def generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """The source of all randomness of one step of one process: the order of the data and the noise follow from it alone."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 64 + rank)


def warm_cosine(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine to zero: the factor of the peak learning rate."""
    return min(1.0, (step + 1) / max(1, warmup)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def rank_and_world() -> tuple[int, int]:
    """This process' number and how many train together."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def fit(
    modules: Sequence[nn.Module],
    optimizer: Optimizer,
    loss: Callable[[torch.Generator], Tensor],
    *,
    steps: int,
    seed: int,
    checkpoint: Path,
    warmup: int = 100,
    cosine: int = 0,
    cooldown: int = 0,
    ema: float = 0.0,
    report: Report | None = None,
    save_seconds: float = 60.0,
    log_every: int = 50,
) -> Losses:
    """Train ``modules`` in place for ``steps`` steps; they end with their averaged weights where ``ema`` is not 0.

    A killed run that is started again with the same arguments continues from ``checkpoint`` and ends with the same weights.

    Args:
        modules: what is trained and saved.
        optimizer: over their parameters; the learning rate that each group has now is its peak.
        loss: one batch's loss, all its randomness from the generator that it is given.
        steps, seed, warmup: how long, which randomness, how many steps to the peak learning rate.
        cosine, cooldown: the period of the learning rate's cosine where it is not ``steps``; the last steps, over which the rate
            also falls linearly to zero.
        checkpoint: the file that holds the state, written about every ``save_seconds``.
        ema: decay of the averaged weights (reached gradually); 0 for none.
        report: called after every step.
    """
    rank, world = rank_and_world()
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    averaged = [p.detach().clone() for p in parameters] if ema else []
    peaks = [group["lr"] for group in optimizer.param_groups]
    log, start, recent = Losses(), 0, []
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        for module, weights in zip(modules, state["modules"], strict=True):
            module.load_state_dict(weights)
        optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for kept, saved in zip(averaged, state["averaged"], strict=True):
                kept.copy_(saved)
        log, start, recent = Losses(state["losses"], state["seconds"]), state["step"], state["recent"]

    began, saved_at = time.monotonic() - log.seconds, time.monotonic()
    for step in range(start, steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * warm_cosine(step, cosine or steps, warmup) * min(1.0, (steps - step) / max(1, cooldown))
        value = loss(generator(seed, step, rank))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        _share(parameters, world)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            decay = min(ema, (1 + step) / (10 + step))
            for kept, p in zip(averaged, parameters, strict=False):
                kept.lerp_(p, 1 - decay)
        recent.append(value.item())
        if (step + 1) % log_every == 0 or step + 1 == steps:
            log.losses.append((step + 1, sum(recent) / len(recent)))
            recent = []
        if report and rank == 0:
            report(step + 1, steps, log.losses[-1][1] if log.losses else value.item())
        if rank == 0 and time.monotonic() - saved_at > save_seconds:
            log.seconds = time.monotonic() - began
            state = {
                "modules": [module.state_dict() for module in modules],
                "optimizer": optimizer.state_dict(),
                "averaged": averaged,
                "losses": log.losses,
                "recent": recent,
                "seconds": log.seconds,
                "step": step + 1,
            }
            with writing(checkpoint) as file:
                torch.save(state, file)
            saved_at = time.monotonic()
    log.seconds = time.monotonic() - began
    with torch.no_grad():
        for p, kept in zip(parameters, averaged, strict=False):
            p.copy_(kept)
    return log


def _share(parameters: list[nn.Parameter], world: int) -> None:
    """Average the gradients over the processes, in one message."""
    if world == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(flat)
    flat /= world
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))
