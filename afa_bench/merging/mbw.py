"""Block-weighted merging (MBW): a weight of every model for each block of the U-Net, and one, BASE, for all else.

Weights are a simplex (one row a block, one column a model) or a chain of two-model merges: A + B -> O, then O + C, ...
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from afa_bench.architectures.layout import BASE, TIME, Layout
from afa_bench.errors import UserError
from afa_bench.registry import suggest

BlockWeights: TypeAlias = Mapping[str, tuple[float, ...]]
"""Block -> a weight of each model, with the sum 1."""

CLASSIC = 25
"""Blocks of SD 1.5's U-Net, for which the presets with numbered blocks are defined."""

CURVES: Mapping[str, Callable[[float], float]] = {
    "GRAD_V": lambda x: abs(1 - 2 * x),
    "GRAD_A": lambda x: 1 - abs(1 - 2 * x),
    "SMOOTHSTEP": lambda x: 3 * x**2 - 2 * x**3,
    "COSINE": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "FAKE_HERMITE": lambda x: 6.3333 * x**3 - 9.5 * x**2 + 4.1667 * x,
    "FLAT_25": lambda x: 0.25,
    "FLAT_75": lambda x: 0.75,
}
"""Presets by formula; x goes from 0 at the first block to 1 at the last."""

RANGES: Mapping[str, Mapping[tuple[int, int], float]] = {
    "WRAP08": {(0, 3): 1.0, (21, 24): 1.0},
    "MID12_50": {(5, 18): 0.5},
    "OUT07": {(18, 24): 1.0},
    "OUT12": {(13, 24): 1.0},
    "OUT12_5": {(13, 24): 1.0, (12, 12): 0.5},
    "RING08_5": {(6, 9): 0.5, (15, 18): 0.5},
    "RING10_5": {(5, 9): 0.5, (15, 19): 0.5},
    "RING10_3": {(6, 10): 0.3, (14, 18): 0.3},
}
"""Presets by ranges of blocks, first and last included; 0 elsewhere."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(_Strict):
    """One two-model merge of a chain.

    Attributes:
        blocks: the new model's weight in each block, in order, or the name of a preset.
        base: its weight in all else.
    """

    blocks: tuple[float, ...] | str
    base: float = 0.5


class MBWSettings(_Strict):
    """Attributes.

    simplex: a row for each block, in order, with a weight of each model; the rows' sums are 1. By default 1/N everywhere.
    base: with a simplex, the weights of all else; 1/N by default.
    chain: instead, N - 1 two-model merges.
    time_embedding: the block of the embeddings of time and size: IN00, the first one, or BASE as other tools have it.
    """

    simplex: tuple[tuple[float, ...], ...] | None = None
    base: tuple[float, ...] | None = None
    chain: Annotated[tuple[Step, ...], Field(min_length=1)] | None = None
    time_embedding: Literal["IN00", "BASE"] = "IN00"

    @model_validator(mode="after")
    def _one_of_two(self) -> MBWSettings:
        if self.chain is not None and (self.simplex is not None or self.base is not None):
            raise ValueError("chain has its own base weights; expected either a chain or a simplex with its base")
        return self

    def weights(self, layout: Layout, count: int) -> BlockWeights:
        """Every block's weights of ``count`` models, BASE and the time embedding's included.

        Raises:
            UserError: another number of blocks or of models, or weights whose sum is not 1.
        """
        found = self._chained(layout, count) if self.chain is not None else self._simplex(layout, count)
        return {**found, TIME: found[BASE if self.time_embedding == BASE else layout.blocks[0]]}

    def _simplex(self, layout: Layout, count: int) -> BlockWeights:
        uniform = (1 / count,) * count
        rows = self.simplex or (uniform,) * len(layout.blocks)
        if len(rows) != len(layout.blocks):
            raise UserError(f"mbw: simplex: {len(rows)} rows; expected {len(layout.blocks)}, one for each block of {layout.name}")
        weights = {**dict(zip(layout.blocks, rows, strict=True)), BASE: self.base or uniform}
        for block, row in weights.items():
            if len(row) != count or not math.isclose(math.fsum(row), 1, abs_tol=1e-6):
                raise UserError(f"mbw: {block}: {list(row)}; expected a weight of each of {count} models, with the sum 1")
        return weights

    def _chained(self, layout: Layout, count: int) -> BlockWeights:
        steps = self.chain or ()
        if len(steps) != count - 1:
            raise UserError(f"mbw: chain: {len(steps)} merges; expected {count - 1} for {count} models")
        weights: dict[str, tuple[float, ...]] = dict.fromkeys((*layout.blocks, BASE), (1.0,))
        for step in steps:
            new = {**dict(zip(layout.blocks, _expanded(step.blocks, layout), strict=True)), BASE: step.base}
            weights = {block: (*((1 - new[block]) * old for old in row), new[block]) for block, row in weights.items()}
        return weights


def preset(name: str, count: int = CLASSIC) -> tuple[float, ...]:
    """The weights of a named preset for ``count`` blocks; a prefix ``R_`` or ``REVERSE_`` gives one minus them.

    Raises:
        UserError: no such preset, or one whose blocks are numbered for 25 of them.
    """
    reverse, bare = re.fullmatch(r"(R_|REVERSE_)?(.*)", name).groups()  # type: ignore[union-attr]
    if bare in CURVES:
        weights = tuple(CURVES[bare](i / (count - 1)) for i in range(count))
    elif bare in RANGES and count == CLASSIC:
        ranges = RANGES[bare].items()
        weights = tuple(next((value for (low, high), value in ranges if low <= i <= high), 0.0) for i in range(count))
    elif bare in RANGES:
        raise UserError(f"mbw: blocks: preset {name} is defined for {CLASSIC} blocks; this model has {count}")
    else:
        raise UserError(f"mbw: blocks: unknown preset {name!r}: {suggest(bare, (*CURVES, *RANGES))}")
    return tuple(1 - weight for weight in weights) if reverse else weights


def _expanded(blocks: Sequence[float] | str, layout: Layout) -> Sequence[float]:
    if isinstance(blocks, str):
        return preset(blocks, len(layout.blocks))
    if len(blocks) != len(layout.blocks):
        names = f"{layout.blocks[0]} ... {layout.blocks[-1]}"
        raise UserError(f"mbw: blocks: {len(blocks)} weights; expected {len(layout.blocks)} for {layout.name} ({names})")
    return blocks
