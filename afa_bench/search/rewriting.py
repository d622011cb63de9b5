"""A merged model in memory of which the blocks whose weights have changed are written again, always from the sources."""

from __future__ import annotations

from collections.abc import Sequence

from afa_bench.architectures.base import Architecture
from afa_bench.architectures.layout import BASE, TIME
from afa_bench.errors import UserError
from afa_bench.merging.memory import MergedModel
from afa_bench.merging.method import MergeMethod
from afa_bench.method import Denoiser, Model
from afa_bench.search.space import Row, Space, Weights


class Rewriter:
    """One U-Net and text encoder, merged block by block.

    Args:
        models: of one architecture.
        architecture: this one.
        method: by which they are merged.
        space: what of it is searched.

    Attributes:
        rewritten: blocks that have been written so far, BASE and the time embedding included.

    Raises:
        UserError: they differ in their architecture, or have no numbered blocks.
    """

    def __init__(self, models: Sequence[Model], architecture: Architecture, method: MergeMethod, space: Space) -> None:
        self._merged, self._method, self._space = MergedModel(models, architecture), method, space
        if self._merged.layout is None:
            raise UserError(f"search: expected models with numbered blocks; those of {architecture.title} have none")
        self.layout = self._merged.layout
        self.denoiser = Denoiser(self._merged.unet, [self._merged.text_encoder])
        self.rewritten = 0
        self._rows: dict[str, Row] = {}

    def write(self, weights: Weights) -> None:
        """Make the model the merge with these weights: the blocks whose row is another than now are written."""
        wanted = {**weights, TIME: weights[self.layout.blocks[0]]}
        changed = [block for block, row in wanted.items() if self._rows.get(block) != row]
        self._merged.write(self._method, self._space.settings(weights, self.layout.blocks), changed)
        self._rows = wanted
        self.rewritten += len(changed)

    @property
    def text_row(self) -> Row | None:
        """The row that the text encoder was merged with; None where all models share one, which is not merged."""
        return self._rows.get(BASE) if BASE in self._merged.blocks else None
