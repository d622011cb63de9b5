"""Where a merge is: a tensor's name and its block, the same for a file and for a model in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from afa_bench.architectures.layout import Layout, Link


@dataclass(frozen=True)
class Place:
    """A tensor.

    Attributes:
        key: LDM's name of it; diffusers' own where LDM has none.
        piece: which of the tensors it is that LDM has in one: queries, keys and values of OpenCLIP's attention; else None.
        block: of the U-Net, or BASE, or TIME, the embeddings of time and size; None: in an architecture without numbered blocks.
        layout: the architecture's names and blocks.
    """

    key: str
    block: str | None = None
    layout: Layout | None = None
    piece: int | None = None

    @property
    def name(self) -> tuple[str | int, ...]:
        """What random numbers are drawn by."""
        return (self.key,) if self.piece is None else (self.key, self.piece)


def places_of(link: Link, layout: Layout) -> Sequence[Place]:
    """The places of the tensors that diffusers has for one of LDM's."""
    several = len(link.diffusers) > 1
    return [Place(link.ldm, link.block, layout, piece if several else None) for piece, _ in enumerate(link.diffusers)]
