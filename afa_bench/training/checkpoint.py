"""The state of a training on the disk: whole or absent, and refused where it belongs to another training."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from afa_bench.errors import UserError
from afa_bench.log import LOG
from afa_bench.store.atomic import writing


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

    def save(self, done: int, **more: Any) -> None:
        """Write the state after so many steps, with further plain values or tensors."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        with writing(self.file) as file:
            torch.save({"about": dict(self.about), "done": done, "parts": states, **more}, file)

    def load(self) -> dict[str, Any] | None:
        """Restore all parts; returns what :meth:`save` was given, or None where nothing was saved yet.

        Raises:
            UserError: the file is damaged or of another training; the message names the first difference. A lower ``lr`` is none:
                with it a training that diverged goes on, and a warning says so.
        """
        if not self.file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
            about, parts = state.pop("about"), state.pop("parts")
        except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(f"{self.file}: not a checkpoint of a training: {error}") from error
        for key in dict.fromkeys([*self.about, *about]):
            if key == "lr" and about.get(key, 0) > self.about.get(key, 0):
                LOG.warning("%s: goes on with lr %s in place of %s", self.file, self.about[key], about[key])
            elif about.get(key) != self.about.get(key):
                raise UserError(
                    f"{self.file}: {key}: this checkpoint has {about.get(key)!r}, the training {self.about.get(key)!r}; "
                    "train into another folder"
                )
        for name, part in self.parts.items():
            part.load_state_dict(parts[name])
        return state
