"""What autoMBW tries: which blocks move together, and which weights they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import isclose
from typing import Any, Literal, TypeAlias

from afa_bench.architectures.layout import BASE, Layout
from afa_bench.merging.blocks import ByBlock

Row: TypeAlias = tuple[float, ...]
"""What a block is given: a weight of each model, with the sum 1; or one number, for a setting that is searched by block."""

Weights: TypeAlias = Mapping[str, Row]
"""Block -> its row, BASE included."""

Grid: TypeAlias = Callable[[Row], Sequence[Row]]
"""A group's row at the start of a round -> the rows to try."""

ALPHAS = tuple(n / 10 for n in range(11))
"""The numbers that are tried for one setting, and the weights that the strict two-model form tries."""

Kind = Literal["simplex", "chain"]


@dataclass(frozen=True)
class Stage:
    """A part of a search, with its own sweeps: the simplex has one, a chain one for each model after the first.

    Attributes:
        title: as in the log.
        rounds: what is tried for a group of blocks, one after the other, given the row which each block had as the stage began.
    """

    title: str
    rounds: Callable[[Row], Sequence[Grid]]


def block_groups(layout: Layout, size: int = 2, base: bool = False) -> list[tuple[str, ...]]:
    """M00, then the blocks of the way down and of the way up, ``size`` at a time; then BASE, if it is searched at all."""
    half = len(layout.blocks) // 2
    down, middle, up = layout.blocks[:half], layout.blocks[half], layout.blocks[half + 1 :]
    cut = [side[start : start + size] for side in (down, up) for start in range(0, half, size)]
    return [(middle,), *cut, *([(BASE,)] if base else [])]


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        kind: as in the log.
        names: of a row's numbers.
        start: the row that every block begins with.
        stages: one after the other.
        settings: weights and the blocks in their order -> the merge method's settings.
    """

    kind: str
    names: Sequence[str]
    start: Row
    stages: Sequence[Stage]
    settings: Callable[[Weights, Sequence[str]], dict[str, Any]]

    def begin(self, blocks: Sequence[str]) -> dict[str, Row]:
        """What a search begins with."""
        return dict.fromkeys((*blocks, BASE), self.start)


def models_space(names: Sequence[str], kind: Kind) -> Space:
    """The weights of models of these names, for ``mbw``: points of their simplex, from all alike; or two-model merges, from the
    first model alone."""
    count = len(names)

    def settings(weights: Weights, blocks: Sequence[str]) -> dict[str, Any]:
        return {"base": weights[BASE], "simplex": tuple(weights[block] for block in blocks)}

    if kind == "simplex":
        stage = Stage("simplex", lambda _: (lambda row: points(len(row), 2), neighbours))
        return Space(kind, names, (1 / count,) * count, [stage], settings)
    stages = [Stage(f"+ {name}", _blended(number)) for number, name in enumerate(names) if number]
    return Space(kind, names, (1.0,) + (0.0,) * (count - 1), stages, settings)


def number_space(setting: str, start: float) -> Space:
    """One setting of a merge method, by block."""

    def settings(weights: Weights, blocks: Sequence[str]) -> dict[str, Any]:
        return {setting: ByBlock(blocks=tuple(weights[block][0] for block in blocks), base=weights[BASE][0])}

    stage = Stage(setting, lambda _: (lambda row: [(alpha,) for alpha in ALPHAS],))
    return Space("number", [setting], (start,), [stage], settings)


def points(count: int, parts: int) -> list[Row]:
    """All points of the simplex of ``count`` models whose weights are multiples of 1 / ``parts``."""
    draws = combinations_with_replacement(range(count), parts)
    return [tuple(drawn.count(model) / parts for model in range(count)) for drawn in draws]


def neighbours(row: Row) -> list[Row]:
    """The points of step 1/4 to which a quarter of the weight, or less, has to move."""
    near = [point for point in points(len(row), 4) if sum(abs(a - b) for a, b in zip(point, row, strict=True)) <= 0.5 + 1e-9]
    return [point for point in near if not same(point, row)]


def same(one: Row, other: Row) -> bool:
    """Whether two rows are the same but for rounding."""
    return all(isclose(a, b, abs_tol=1e-9) for a, b in zip(one, other, strict=True))


def _blended(number: int) -> Callable[[Row], Sequence[Grid]]:
    """The merge O + model ``number``, where O is what the block was when the stage began."""

    def rounds(before: Row) -> Sequence[Grid]:
        rows = [tuple((1 - alpha) * w + alpha * (model == number) for model, w in enumerate(before)) for alpha in ALPHAS]
        return (lambda row: rows,)

    return rounds
