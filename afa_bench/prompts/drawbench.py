"""DrawBench (Saharia et al. 2022, "Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from afa_bench.errors import UserError
from afa_bench.fetch import HubFile, Needed, locate
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked
from afa_bench.prompts.rows import read_rows

SHEET = HubFile(
    repo="sayakpaul/drawbench",
    file="DrawBench Prompts - Sheet1.csv",
    revision="ad794cba698c253ffdb6d18eff3fc87b004c1135",
    kind="datasets",
)
"""An export of the sheet that the authors published; its columns are ``Prompts`` and ``Category``."""

PROMPTS, CATEGORIES = 200, 11


class DrawBench(PromptSet):
    """200 prompts in 11 categories, without images; the ids are the rows of the sheet."""

    source: ClassVar[str] = "the sheet that Saharia et al. published, as exported to the hub: sayakpaul/drawbench"
    licence: ClassVar[str] = "none is stated; published by Google for research"

    def sources(self) -> Sequence[Needed]:
        """The sheet."""
        return [SHEET]

    @property
    def expected(self) -> int:
        """How many prompts there are."""
        return PROMPTS

    def prompts(self, folder: Path) -> list[Prompt]:
        """The sheet's rows.

        Raises:
            UserError: not fetched, changed since, or not 200 prompts of 11 categories.
        """
        path = locate(SHEET)
        rows = list(read_rows(path, ["Prompts", "Category"]))
        categories = {row["Category"] for row in rows}
        if (len(rows), len(categories)) != (PROMPTS, CATEGORIES):
            raise UserError(
                f"{path}: expected {PROMPTS} prompts of {CATEGORIES} categories, found {len(rows)} of {len(categories)}"
            )
        return checked([Prompt(f"{index:03d}", row["Prompts"], row["Category"]) for index, row in enumerate(rows)], path)
