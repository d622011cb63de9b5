"""The miniature zoo's held-out pairs (docs/mini.md): captions that no model of a pipeline was trained on, with drawings."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from afa_bench.prompts.base import Prompt, PromptSet


class MiniPrompts(PromptSet):
    """Captions such as "red dog left of flag of Chile on blue".

    Attributes:
        layout: only pairs of one object, or only scenes of two.
    """

    source: ClassVar[str] = "OpenMoji 17 drawings, rendered and captioned by the recipe in afa_bench/mini"
    licence: ClassVar[str] = "CC BY-SA 4.0"

    layout: Literal["single", "scene"] | None = None

    def prompts(self, folder: Path) -> list[Prompt]:
        """The held-out pairs in the order of ``heldout.parquet``, which is shuffled once and for all."""
        import pyarrow.parquet as pq

        from afa_bench.paths import zoo

        rows = pq.read_table(zoo() / "heldout.parquet").to_pylist()
        return [
            Prompt(row["id"], row["prompt"], "scene" if row["layout"] == "scene" else row["category"], row["image"])
            for row in rows
            if self.layout in (None, row["layout"])
        ]

    def reference(self, folder: Path) -> list[bytes]:
        """2,048 drawings of the training distribution."""
        import pyarrow.parquet as pq

        from afa_bench.paths import zoo

        column: list[bytes] = pq.read_table(zoo() / "reference.parquet", columns=["image"]).column("image").to_pylist()
        return column
