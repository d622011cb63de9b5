"""What the routers of a mixture of experts have decided: shares by block and timestep, collapse, cost, and a picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from afa_bench.images.legend import INK, colour_of, draw_legend
from afa_bench.images.letters import font_for

COLLAPSED = 0.95
"""A router that gives one model so large a share of all rows routes nothing."""


@dataclass(frozen=True)
class Choice:
    """One decision of one router, for the rows of a call.

    Attributes:
        block: which router.
        timestep: of the first row.
        experts: the model that each row goes to, ``(B,)``.
        entropy: of each row's softmax over the models, in nats, ``(B,)``.
    """

    block: int
    timestep: int
    experts: Tensor
    entropy: Tensor

    @property
    def calls(self) -> int:
        """How many experts are run for it: each that has a row, once."""
        return len(self.experts.unique())


@dataclass
class Usage:
    """The decisions of a recording, in the order of the calls.

    Attributes:
        models: N.
        choices: of all routers.
    """

    models: int
    choices: list[Choice] = field(default_factory=list)

    @property
    def blocks(self) -> list[int]:
        """The routers, in order."""
        return sorted({choice.block for choice in self.choices})

    @property
    def timesteps(self) -> list[int]:
        """From the noisiest on."""
        return sorted({choice.timestep for choice in self.choices}, reverse=True)

    def shares(self) -> Tensor:
        """The share of the rows that each model had, ``(blocks, timesteps, N)``."""
        blocks, timesteps = self.blocks, self.timesteps
        counts = torch.zeros(len(blocks), len(timesteps), self.models)
        for choice in self.choices:
            place = blocks.index(choice.block), timesteps.index(choice.timestep)
            counts[place] += torch.bincount(choice.experts, minlength=self.models)
        return counts / counts.sum(dim=2, keepdim=True)

    def collapsed(self) -> list[int]:
        """The routers which give one model at least 95% of all rows, whatever the row."""
        found = []
        for block in self.blocks:
            rows = torch.cat([choice.experts for choice in self.choices if choice.block == block])
            if torch.bincount(rows).max() >= COLLAPSED * len(rows):
                found.append(block)
        return found

    def summary(self, guided: bool = False) -> dict[str, Any]:
        """In numbers.

        Args:
            guided: whether the rows of every call were the two halves of classifier-free guidance, one after the other: then also
                the share of prompts whose halves went to two models.
        """
        steps = sum(choice.block == self.blocks[0] for choice in self.choices)
        facts: dict[str, Any] = {
            "timesteps": self.timesteps,
            "shares": [[[round(share, 4) for share in row] for row in block] for block in self.shares().tolist()],
            "entropy": float(torch.cat([choice.entropy for choice in self.choices]).mean()),
            "calls_a_step": sum(choice.calls for choice in self.choices) / steps,
            "routers": len(self.blocks),
            "collapsed": self.collapsed(),
        }
        if guided:
            halves = [choice.experts.chunk(2) for choice in self.choices]
            facts["halves_disagree"] = float(torch.cat([one != other for one, other in halves]).float().mean())
        return facts

    def picture(self, names: Sequence[str], title: str) -> Image.Image:
        """The shares by block and timestep as a picture."""
        return picture(self.shares().tolist(), self.timesteps, names, title)


def picture(shares: Sequence[Any], timesteps: Sequence[int], names: Sequence[str], title: str) -> Image.Image:
    """A bar for each block and timestep, divided among the models by their share of the rows.

    Args:
        shares: ``(blocks, timesteps, N)``, as in a summary.
        timesteps: the rows of the picture.
        names: of the models.
        title: above it.
    """
    font, small = font_for(title, 14), font_for("0", 11)
    wide, tall, left, top = (26 if len(shares) > 1 else 300), 20, 48, 56
    sheet = Image.new("RGB", (max(320, left + len(shares) * (wide + 4) + 10), top + len(timesteps) * (tall + 4) + 24), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((8, 6), title, fill=INK, font=font)
    draw_legend(pen, names, left)
    for row, timestep in enumerate(timesteps):
        y = top + row * (tall + 4)
        pen.text((8, y + 4), f"t {timestep}", fill=INK, font=small)
        for column, block in enumerate(shares):
            x = float(left + column * (wide + 4))
            for number, share in enumerate(block[row]):
                if share * wide >= 0.5:
                    pen.rectangle((x, y, x + share * wide, y + tall), fill=colour_of(number))
                x += share * wide
    for column in range(len(shares) if len(shares) > 1 else 0):
        pen.text((left + column * (wide + 4) + 6, top + len(timesteps) * (tall + 4) + 2), str(column), fill=INK, font=small)
    return sheet
