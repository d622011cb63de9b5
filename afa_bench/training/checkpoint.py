"""The state of a training on the disk: whole or absent, and refused where it belongs to another training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from afa_bench.architectures.objective import Objective
from afa_bench.errors import UserError
from afa_bench.log import LOG
from afa_bench.store.atomic import writing
from afa_bench.training.settings import Settings
from afa_bench.training.trainable import Learner

FREE = {"epochs", "steps", "accumulation", "gradient_checkpointing", "log_every", "validate_every", "checkpoint_every"}
"""Settings that may be others when a training goes on: they do not change the weights at a step."""


def lasting(settings: Settings, steps: int, precision: str, learner: Learner, objective: Objective) -> dict[str, Any]:
    """The settings that fix the weights at a step.

    The number of steps is one of them where the learning rate falls or something is annealed towards the end; else a training
    may go on for more steps than it was begun with.

    Args:
        settings: of the training.
        steps: all of its.
        precision: in which is computed: as the settings or ``accelerate launch`` say.
        learner: which may be annealed.
        objective: which may tell the models a scale of guidance.
    """
    free = FREE if objective.guidance is not None else FREE | {"guidance"}  # nobody is told
    about = settings.model_dump(include=set(Settings.model_fields) - free)
    if precision != (about["mixed_precision"] or "no"):
        about["mixed_precision"] = precision
    return {**about, "steps": steps if settings.cooldown or learner.anneal is not None else None}


@dataclass
class Checkpoint:
    """One file, written over and over.

    Attributes:
        file: where.
        about: what has to be the same for a training to go on from it; kept within, in plain values.
        parts: what has a state beside the weights (optimizer, averages, gradient scaler): name -> object with ``state_dict`` and
            ``load_state_dict``. No weight of a frozen model is among them.
    """

    file: Path
    about: Mapping[str, Any]
    parts: Mapping[str, Any]

    def save(self, done: int, sums: Mapping[str, Tensor]) -> None:
        """Write the state after so many steps, with the sums of what the log has not yet."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        with writing(self.file) as file:
            torch.save({"about": dict(self.about), "done": done, "parts": states, "sums": dict(sums)}, file)

    def steps_done(self, steps: int) -> int | None:
        """Steps that the file has, of a training of so many; None where nothing was saved yet. Nothing is restored.

        Raises:
            UserError: the file is damaged, of another training, or has more steps; the message names the first difference. A
                lower ``lr`` is none: with it a training that diverged goes on.
        """
        state = self._read(mmap=True)
        return None if state is None else self._compared(state, steps)

    def load(self, steps: int) -> tuple[int, dict[str, Tensor]] | None:
        """Restore all parts; returns what :meth:`save` was given, or None where nothing was saved yet.

        Raises:
            UserError: as :meth:`steps_done`. A lower ``lr`` is said.
        """
        state = self._read()
        if state is None:
            return None
        done = self._compared(state, steps)
        if (before := state["about"].get("lr")) != self.about.get("lr"):
            LOG.warning("%s: goes on with lr %s in place of %s", self.file, self.about["lr"], before)
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state["parts"][name])
        except Exception as error:  # each part has its own ways to refuse
            raise self._damaged() from error
        return done, state["sums"]

    def _read(self, mmap: bool = False) -> dict[str, Any] | None:
        if not self.file.exists():
            return None
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True, mmap=mmap)
        except Exception as error:  # a damaged file may do anything but run code
            raise self._damaged() from error
        kinds = {"about": dict, "done": int, "parts": dict, "sums": dict}
        if not isinstance(state, dict) or not all(isinstance(state.get(key), kind) for key, kind in kinds.items()):
            raise self._damaged()
        if not all(isinstance(value, Tensor) for value in state["sums"].values()):
            raise self._damaged()
        return state

    def _damaged(self) -> UserError:
        return UserError(f"{self.file}: not a checkpoint of a training, or a damaged one; expected one, or another folder")

    def _compared(self, state: Mapping[str, Any], steps: int) -> int:
        for key, found, expected in _differences(state["about"], self.about):
            raise UserError(
                f"{self.file}: {key}: this checkpoint has {found!r}, the training {expected!r}; train into another folder"
            )
        done = int(state["done"])
        if done > steps:
            raise UserError(f"{self.file}: steps: this checkpoint has {done}, the training {steps}; train into another folder")
        return done


def _differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What differs, but for a lower ``lr``: key, what was found, what was expected."""
    for key in dict.fromkeys([*expected, *found]):
        one, other = found.get(key), expected.get(key)
        lower = key == "lr" and isinstance(one, float) and isinstance(other, float) and other < one
        if one != other and not lower:
            yield key, one, other
