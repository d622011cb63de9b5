"""The loop: minimises a loss by AdamW, alone or as one of several processes, and resumes exactly.

What a step does follows from the weights, the seed and the step's number alone: a training that was stopped and resumed ends
with the bits of one that was not, and several processes train on the batches and the noise of one.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from diffusers.training_utils import EMAModel
from torch import Tensor

from afa_bench.architectures.objective import Conditions, Objective
from afa_bench.errors import UserError
from afa_bench.training.checkpoint import Checkpoint, lasting
from afa_bench.training.lcm import Distillation
from afa_bench.training.log import TrainingLog
from afa_bench.training.loss import Draw, denoising_loss
from afa_bench.training.pairs import Order, Pairs, generator, seed_of
from afa_bench.training.settings import Settings
from afa_bench.training.trainable import Learner

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
VALIDATION_STEPS = 8  # timesteps at which the validation loss is measured, evenly spaced

Report = Callable[[int, int, Mapping[str, float]], None]
"""``(steps done, of how many, the last logged values)``, called after each step by the main process."""

Loss = Callable[[Tensor, Conditions, Conditions, Draw], Tensor]
"""``(latents, conditions, empty, drawn) -> ()``, as :func:`denoising_loss`'s last arguments."""


def fit(
    learner: Learner,
    objective: Objective,
    pairs: Pairs,
    settings: Settings | None = None,
    *,
    folder: Path | None = None,
    validation: Pairs | None = None,
    report: Report | None = None,
    accelerator: Accelerator | None = None,
    about: Mapping[str, Any] | None = None,
    saved: Callable[[int], None] = lambda done: None,
) -> Any:
    """Train the learner's learned part in place and return it, in eval mode; no other weight gets a gradient.

    Args:
        learner: what a trainable built.
        objective: of the models' architecture: how latents are noised and what is predicted.
        pairs: what to train on.
        settings: how; by default as the paper does.
        folder: for ``log.jsonl`` and ``checkpoint.pt``; where a checkpoint is, the training goes on from it. With a folder, the
            first Ctrl-C (or SIGTERM) ends the step under way, writes a checkpoint, and raises ``KeyboardInterrupt``.
        validation: pairs on which the loss is measured before the first step, every ``validate_every`` steps and at the end, with
            the same noise each time.
        report: for progress.
        accelerator: with the process group, number format and trackers to use; by default one by the settings.
        about: facts which a checkpoint must share with this training beside the settings.
        saved: told the steps of each checkpoint that is written, by the main process.

    Raises:
        UserError: a batch that cannot be divided, too few pairs, a checkpoint of another training or of more steps, or a loss or
            weights that are not finite; the last checkpoint whose weights are is kept.
    """
    settings = settings or Settings()
    training = _Training(
        learner, objective, pairs, settings, folder, validation, report,
        accelerator or accelerator_of(settings), about or {}, saved,
    )  # fmt: skip
    with _seedable(training.accelerator.device), _interruptible(folder is not None) as interrupted:
        training.run(interrupted)
    return learner.learned.eval().requires_grad_(False)


class _Training:
    """The state of a training, and its steps. The arguments are those of :func:`fit`."""

    def __init__(
        self,
        learner: Learner,
        objective: Objective,
        pairs: Pairs,
        settings: Settings,
        folder: Path | None,
        validation: Pairs | None,
        report: Report | None,
        accelerator: Accelerator,
        about: Mapping[str, Any],
        told: Callable[[int], None],
    ) -> None:
        self.learner, self.objective, self.pairs, self.settings = learner, objective, pairs, settings
        self.validation, self.report, self.accelerator, self.told = validation, report, accelerator, told
        self.steps = settings.steps_for(len(pairs))
        self.order = Order(len(pairs), settings.batch, settings.seed)
        self.part = _part_size(settings, accelerator.num_processes)

        unet = learner.denoiser.unet.eval().requires_grad_(False)
        learner.learned.train().requires_grad_(True)
        if settings.gradient_checkpointing:
            unet.enable_gradient_checkpointing()  # type: ignore[operator]
        self.parameters = list(learner.learned.parameters())
        optimizer = torch.optim.AdamW(self.parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
        self.denoise, self.optimizer = accelerator.prepare(unet, optimizer)
        self.distillation = Distillation(self.denoise, learner, self.objective, settings.lcm) if settings.lcm else None
        self.loss: Loss = self.distillation or partial(denoising_loss, self.denoise, self.objective)
        self.average = EMAModel(self.parameters, decay=settings.ema) if settings.ema else None

        self.done, self.saved, self.sums, self.latest = 0, 0, dict[str, Tensor](), dict[str, float]()
        fixed = {**lasting(settings, self.steps, accelerator.mixed_precision, learner, objective), **about}
        self.checkpoint = None if folder is None else Checkpoint(folder / CHECKPOINT, fixed, self._parts())
        if self.checkpoint and (state := self.checkpoint.load(self.steps)):
            self.done, sums = state
            self.saved = self.done
            self.sums = {name: value.to(accelerator.device) for name, value in sums.items()}
            if not self.finite():
                raise UserError(f"{folder}: {CHECKPOINT}: weights are not finite: train into another folder")
        self.log = TrainingLog(folder / LOG if folder and accelerator.is_main_process else None, self.done)
        if accelerator.log_with:
            trackers = {key: str(value) for key, value in settings.model_dump(mode="json").items()}
            later = {"tensorboard": {"purge_step": self.done + 1}}  # what was logged after the checkpoint is logged again
            accelerator.init_trackers("afa-bench", config=trackers, init_kwargs=later)

    def _parts(self) -> dict[str, Any]:
        parts = {
            "learned": self.learner.learned,
            "optimizer": self.optimizer,
            "ema": self.average,
            "scaler": self.accelerator.scaler,
            **(self.distillation.parts if self.distillation else {}),
        }
        return {name: part for name, part in parts.items() if part is not None}

    def run(self, interrupted: Sequence[int]) -> None:
        """All steps that are left; stops early, after a checkpoint, once ``interrupted`` is not empty."""
        settings = self.settings
        if self.done == 0:
            self.validate()
        since, began = self.done, time.perf_counter()
        while self.done < self.steps:
            self.step()
            last, stop = self.done == self.steps, self._stops(bool(interrupted))
            if last or self.done % settings.log_every == 0:
                self.summarise((time.perf_counter() - began) / (self.done - since))
                since, began = self.done, time.perf_counter()
            if last or self.done % settings.validate_every == 0:
                self.validate()
            if last or stop or self.done % settings.checkpoint_every == 0:
                self.save()
            if self.report is not None and self.accelerator.is_main_process:
                self.report(self.done, self.steps, self.latest)
            if stop:
                raise KeyboardInterrupt
        if self.average is not None:
            self.average.copy_to(self.parameters)

    def _stops(self, interrupted: bool) -> bool:
        """Whether any process was interrupted: all have to stop after the same step."""
        if self.accelerator.num_processes == 1:
            return interrupted
        if interrupted:
            self.accelerator.set_trigger()
        return bool(self.accelerator.check_trigger())

    def step(self) -> None:
        """One optimizer step."""
        settings, accelerator, step = self.settings, self.accelerator, self.done
        for group in self.optimizer.param_groups:
            group["lr"] = settings.lr_at(step, self.steps)
        if self.learner.anneal is not None:
            self.learner.anneal(step / self.steps)
        drawn = None
        for index in range(settings.accumulation):
            start = (accelerator.process_index * settings.accumulation + index) * self.part
            rows = slice(start, start + self.part)
            latents, conditions = self._batch(step, rows)
            if drawn is None:  # of the whole batch, of which each process and part takes its own rows
                shape = torch.Size([settings.batch, *latents.shape[1:]])
                drawn = Draw.of(shape, self.objective.timesteps, settings.text_dropout, generator(settings.seed, step))
            torch.manual_seed(seed_of(settings.seed, step, accelerator.process_index, index))
            with accelerator.no_sync(self.denoise) if index < settings.accumulation - 1 else nullcontext():
                loss = self.loss(latents, conditions, self.pairs.empty, drawn[rows])
                self._add("loss", loss)
                if self.learner.auxiliary is not None:
                    auxiliary = self.learner.auxiliary()
                    self._add("auxiliary", auxiliary)
                    loss = loss + auxiliary
                accelerator.backward(loss / settings.accumulation)
        if settings.max_grad_norm is not None:
            accelerator.clip_grad_norm_(self.parameters, settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.step(self.parameters)
        if self.distillation is not None:
            self.distillation.follow()
        self.done += 1

    def _batch(self, step: int, rows: slice) -> tuple[Tensor, Conditions]:
        epoch, numbers = self.order.batch(step)
        return _on(self.accelerator.device, self.pairs.batch(numbers[rows], epoch))

    def _add(self, name: str, value: Tensor) -> None:
        total = self.sums.get(name, torch.zeros((), device=self.accelerator.device))
        self.sums[name] = total + value.detach() / self.settings.accumulation

    def summarise(self, seconds: float) -> None:
        """TrainingLog the means since the last time."""
        count = (self.done - 1) % self.settings.log_every + 1
        values = {name: self.accelerator.reduce(total, "mean").item() / count for name, total in self.sums.items()}
        facts = self.learner.facts() if self.learner.facts is not None else {}
        self.note({**values, **facts, "lr": self.settings.lr_at(self.done - 1, self.steps), "seconds": seconds})
        self.sums.clear()

    def validate(self) -> None:
        """Measure and log the loss of what would be saved now."""
        if self.validation is not None:
            with _averaged(self.average, self.parameters):
                self.learner.learned.eval()
                loss = _validation_loss(self.accelerator, self.loss, self.objective.timesteps, self.validation, self.part)
                self.learner.learned.train()
            self.note({"validation_loss": loss})

    def note(self, values: Mapping[str, float]) -> None:
        """To the log and the trackers.

        Raises:
            UserError: one of them is not finite.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise self.diverged(f"{name.replace('_', ' ')} is {value}")
        self.latest.update(values)
        self.accelerator.log(dict(values), step=self.done)
        self.log.write(self.done, values)

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            UserError: a weight is not finite; the earlier checkpoint stays.
        """
        if not self.finite():
            raise self.diverged("weights are not finite")
        sums = {name: self.accelerator.reduce(total, "mean").cpu() for name, total in self.sums.items()}
        if self.checkpoint and self.accelerator.is_main_process:
            self.checkpoint.save(self.done, sums)
            self.told(self.done)
        self.saved = self.done
        self.accelerator.wait_for_everyone()

    def finite(self) -> bool:
        """Whether all that is learned is, and the losses since the last line of the log."""
        averages = self.average.shadow_params if self.average is not None else ()
        return all(bool(value.isfinite().all()) for value in (*self.parameters, *averages, *self.sums.values()))

    def diverged(self, what: str) -> UserError:
        """What to say of a training that cannot go on, and what to change."""
        if not self.done:
            return UserError(f"train: before the first step {what}, by the models: expected finite values, or another precision")
        precision = ", mixed_precision: bf16" if self.accelerator.mixed_precision == "fp16" else ""
        saved = self.saved if self.checkpoint else 0
        kept = f"a lower lr goes on from the checkpoint of step {saved}" if saved else "nothing is saved"
        change = f"a lower lr (now {self.settings.lr:g}), max_grad_norm: 1{precision} ({kept})"
        return UserError(f"train: step {self.done}: {what}: the training has diverged; expected {change}")


def accelerator_of(settings: Settings, **more: Any) -> Accelerator:
    """Accelerate's, with its further arguments.

    Raises:
        UserError: a precision that this machine, or what this process trained before, does not allow.
    """
    wanted = settings.mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION")
    if wanted == "fp16" and PartialState().device.type == "cpu":
        raise UserError("mixed_precision: fp16 takes a GPU; expected bf16 or no")
    try:
        return Accelerator(mixed_precision=settings.mixed_precision, **more)
    except ValueError as error:
        raise UserError(f"mixed_precision: {wanted}: {error}") from error


def _part_size(settings: Settings, world: int) -> int:
    """Pairs of one forward in one process."""
    size, rest = divmod(settings.batch, world * settings.accumulation)
    if rest or not size:
        raise UserError(
            f"train: batch: {settings.batch}; expected a multiple of {world} processes x accumulation {settings.accumulation}"
        )
    return size


@torch.no_grad()
def _validation_loss(accelerator: Accelerator, loss: Loss, total: int, pairs: Pairs, size: int) -> float:
    """The mean loss over all pairs at evenly spaced ones of ``total`` timesteps, shared out among the processes."""
    grid = [int((i + 0.5) * total / VALIDATION_STEPS) for i in range(VALIDATION_STEPS)]
    rows = list(range(len(pairs)))[accelerator.process_index :: accelerator.num_processes]
    found = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        latents, conditions = _on(accelerator.device, pairs.batch(chosen, epoch=0))
        for step in grid:
            noise = torch.stack([torch.randn(latents.shape[1:], generator=generator(row, step)) for row in chosen])
            timesteps = torch.full((len(chosen),), step)
            drawn = Draw(timesteps, noise, dropped=torch.zeros_like(timesteps, dtype=torch.bool))
            found += len(chosen) * loss(latents, conditions, pairs.empty, drawn).double().cpu()
    return float(accelerator.reduce(found.float().to(accelerator.device), "sum").item()) / (len(pairs) * len(grid))


def _on(device: torch.device, batch: tuple[Tensor, Conditions]) -> tuple[Tensor, Conditions]:
    latents, conditions = batch
    return latents.to(device), {name: value.to(device) for name, value in conditions.items()}


@contextmanager
def _averaged(average: EMAModel | None, parameters: list[torch.nn.Parameter]) -> Iterator[None]:
    """Within it, the parameters are their averages."""
    if average is None:
        yield
        return
    average.store(parameters)
    average.copy_to(parameters)
    try:
        yield
    finally:
        average.restore(parameters)


@contextmanager
def _seedable(device: torch.device) -> Iterator[None]:
    """Within it, torch's global generator may be seeded; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def _interruptible(wanted: bool) -> Iterator[list[int]]:
    """Within it, the first SIGINT or SIGTERM is only noted, in the list that is given; the second works as ever."""
    seen: list[int] = []
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield seen
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        seen.append(number)
        signal.signal(number, kept[signal.Signals(number)])

    for number in kept:
        signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
