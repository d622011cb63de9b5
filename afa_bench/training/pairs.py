"""What is trained on: pairs of latents and what the denoiser is told of them, and the order in which they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from afa_bench.architectures.objective import Conditions
from afa_bench.errors import UserError


class Pairs(Protocol):
    """Pairs by number."""

    @property
    def empty(self) -> Conditions:
        """What stands for the text where it is dropped, one row each."""

    def __len__(self) -> int: ...

    def batch(self, rows: Sequence[int], epoch: int) -> tuple[Tensor, Conditions]:
        """Latents ``(B, C, H, W)``, scaled as the denoiser sees them, and the conditions of some pairs in an epoch.

        Where a denoiser listens to N text encoders, their states lie side by side on the last axis.
        """


@dataclass
class TensorPairs:
    """Pairs in memory: latents ``(P, C, H, W)``, their conditions, and the empty prompt's, one row each."""

    latents: Tensor
    conditions: Conditions
    empty: Conditions

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, rows: Sequence[int], epoch: int) -> tuple[Tensor, Conditions]:
        """The same in every epoch."""
        return self.latents[list(rows)], {name: value[list(rows)] for name, value in self.conditions.items()}


@dataclass
class Subset:
    """Some rows of other pairs."""

    whole: Pairs
    rows: Sequence[int]

    @property
    def empty(self) -> Conditions:
        """As the whole's."""
        return self.whole.empty

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Sequence[int], epoch: int) -> tuple[Tensor, Conditions]:
        """As the whole's."""
        return self.whole.batch([self.rows[row] for row in rows], epoch)


class Order:
    """Which pairs make a step's batch: every epoch goes through all pairs in its own random order.

    It follows from the seed and the step's number alone. An epoch's incomplete last batch is left out.

    Raises:
        UserError: fewer pairs than a batch has.
    """

    def __init__(self, pairs: int, batch: int, seed: int) -> None:
        if batch > pairs:
            raise UserError(f"train: batch: {batch}; expected at most the number of pairs, {pairs}")
        self.pairs, self.size, self.seed = pairs, batch, seed
        self._epoch, self._rows = -1, [0]

    def batch(self, step: int) -> tuple[int, list[int]]:
        """The epoch of a step (both from 0) and the numbers of its pairs."""
        epoch, place = divmod(step, self.pairs // self.size)
        if epoch != self._epoch:
            self._epoch, self._rows = epoch, torch.randperm(self.pairs, generator=generator(self.seed, epoch)).tolist()
        return epoch, self._rows[place * self.size : (place + 1) * self.size]


def generator(*words: int) -> torch.Generator:
    """The randomness that belongs to some numbers, such as a seed and a step: on the CPU, hence the same for every device."""
    return torch.Generator().manual_seed(seed_of(*words))


def seed_of(*words: int) -> int:
    """A seed of 63 bits that belongs to some numbers."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1
