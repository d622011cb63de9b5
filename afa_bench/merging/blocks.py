"""Block-weighted merging (MBW): numbers and models' weights that differ by block of the U-Net, and one, BASE, for all else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeAlias

from pydantic import AllowInfNan, BaseModel, ConfigDict, Strict, model_validator

from afa_bench.architectures.layout import BASE, TIME, Layout
from afa_bench.errors import UserError
from afa_bench.merging.place import Place
from afa_bench.merging.presets import BASES, CORRECTED, parsed, preset

Number = Annotated[float, Strict(), AllowInfNan(False)]
"""Finite; not a truth value, not a text."""

Weights: TypeAlias = tuple[float, ...]
"""One of each model."""


class ByBlock(BaseModel):
    """A number for each block.

    Written as a mapping; as a preset's name alone; or as the web UIs have it: numbers with commas between them, BASE's first.

    Attributes:
        blocks: the numbers in the blocks' order, or the name of a preset.
        base: the number of all else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: tuple[Number, ...] | Annotated[str, Strict()]
    base: Number = 0.5

    @model_validator(mode="before")
    @classmethod
    def _read(cls, written: Any) -> Any:
        found = {"blocks": written} if isinstance(written, str) else written
        text = found.get("blocks") if isinstance(found, Mapping) else None
        if not isinstance(text, str):
            return found
        try:
            if "," in text:
                return {**found, **_numbers(text, found)}
            bare, reverse = parsed(text)
        except UserError as error:
            raise ValueError(str(error)) from error
        if bare in CORRECTED:
            return {**found, "blocks": preset(text)}
        return {"base": 1 - BASES[bare] if reverse else BASES[bare], **found} if bare in BASES else found

    def at(self, place: Place) -> float:
        """The number for a tensor; the embeddings of time and size have the first block's.

        Raises:
            ValueError: another number of blocks, or an architecture without numbered ones.
        """
        layout = numbered(place)
        if place.block == BASE:
            return self.base
        return self.expanded(layout.name, layout.blocks)[0 if place.block == TIME else layout.blocks.index(str(place.block))]

    def expanded(self, name: str, blocks: Sequence[str]) -> Sequence[float]:
        """The numbers of an architecture's blocks, in their order.

        Raises:
            ValueError: there is another number of them.
        """
        if isinstance(self.blocks, str):
            return _preset(self.blocks, len(blocks))
        if len(self.blocks) != len(blocks):
            raise ValueError(
                f"blocks: {len(self.blocks)} weights; expected {len(blocks)} for {name} ({blocks[0]} ... {blocks[-1]})"
            )
        return self.blocks


def models_weights(
    place: Place,
    count: int,
    simplex: tuple[Weights, ...] | None,
    base: Weights | None,
    chain: tuple[ByBlock, ...] | None,
    time_embedding: str,
) -> Weights:
    """The weight of each of ``count`` models for a tensor.

    Args:
        place: of the tensor.
        count: of models.
        simplex: a row for each block, in order, with a weight of each model; the rows' sums are 1. By default 1/N everywhere.
        base: with a simplex, the weights of all else; 1/N by default.
        chain: instead, N - 1 two-model merges: A + B, then the result + C, and so on.
        time_embedding: the block of the embeddings of time and size: IN00, the first one, or BASE as other tools have it.

    Raises:
        ValueError: another number of blocks or of models, or weights whose sum is not 1.
    """
    layout = numbered(place)
    if chain is None:
        rows = _simplex(layout.name, layout.blocks, count, simplex, base)
    elif simplex is None and base is None:
        rows = _chained(layout.name, layout.blocks, count, chain)
    else:
        raise ValueError("chain: has its own base weights; expected either a chain or a simplex with its base")
    if place.block == TIME:
        return rows[BASE if time_embedding == BASE else layout.blocks[0]]
    return rows[str(place.block)]


@lru_cache(maxsize=8)  # the same for all tensors of a merge
def _simplex(
    name: str, blocks: Sequence[str], count: int, simplex: tuple[Weights, ...] | None, base: Weights | None
) -> Mapping[str, Weights]:
    uniform = (1 / count,) * count
    rows = simplex or (uniform,) * len(blocks)
    if len(rows) != len(blocks):
        raise ValueError(f"simplex: {len(rows)} rows; expected {len(blocks)}, one for each block of {name}")
    weights = {**dict(zip(blocks, rows, strict=True)), BASE: base or uniform}
    for block, row in weights.items():
        if len(row) != count or not math.isclose(math.fsum(row), 1, abs_tol=1e-6):
            raise ValueError(f"{block}: {list(row)}; expected a weight of each of {count} models, with the sum 1")
    return weights


@lru_cache(maxsize=8)
def _chained(name: str, blocks: Sequence[str], count: int, steps: tuple[ByBlock, ...]) -> Mapping[str, Weights]:
    if len(steps) != count - 1:
        raise ValueError(f"chain: {len(steps)} merges; expected {count - 1} for {count} models")
    weights: dict[str, Weights] = dict.fromkeys((*blocks, BASE), (1.0,))
    for step in steps:
        new = {**dict(zip(blocks, step.expanded(name, blocks), strict=True)), BASE: step.base}
        weights = {block: (*((1 - new[block]) * old for old in row), new[block]) for block, row in weights.items()}
    return weights


def numbered(place: Place) -> Layout:
    """The layout of a tensor's architecture.

    Raises:
        ValueError: one without numbered blocks, or a tensor that is in none of them.
    """
    if place.layout is None:
        raise ValueError("blocks: expected models with numbered blocks, as the U-Nets of SD 1.5 and SDXL have them")
    if place.block is None:
        raise ValueError(f"blocks: {place.key} belongs to no block of {place.layout.name}")
    return place.layout


def _preset(name: str, count: int) -> Sequence[float]:
    try:
        return preset(name, count)
    except UserError as error:
        raise ValueError(str(error)) from error


def _numbers(text: str, beside: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a text: those of all blocks; or BASE's and those of all blocks, whose number is odd."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"blocks: expected numbers with commas between them, found {text!r}") from None
    if len(numbers) % 2:
        return {"blocks": numbers}
    if "base" in beside:
        raise ValueError(f"blocks: {len(numbers)} weights, of which the first is BASE's; expected no base beside them")
    return {"blocks": numbers[1:], "base": numbers[0]}
