"""PartiPrompts (Yu et al. 2022, "Scaling Autoregressive Models for Content-Rich Text-to-Image Generation")."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from afa_bench.errors import UserError
from afa_bench.fetch import Needed, UrlFile, locate
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked

TABLE = UrlFile(
    address="https://raw.githubusercontent.com/google-research/parti/2c99f6652cbc7f0d0441aa91f4c7e7055bcb0071/PartiPrompts.tsv",
    sha256="fab29e41bb512a169b56acab4cf2a41dcb675e285df2efcde6640c7dd3c440eb",
    size=123_107,
)
"""Its columns are ``Prompt``, ``Category`` (12), ``Challenge`` (11) and ``Note``."""


class PartiPrompts(PromptSet):
    """1,632 prompts, without images; the ids are the rows of the table.

    Attributes:
        breakdown: the column that gives the categories.
    """

    source: ClassVar[str] = "github.com/google-research/parti, PartiPrompts.tsv"
    licence: ClassVar[str] = "Apache-2.0"

    breakdown: Literal["Category", "Challenge"] = "Category"

    def sources(self) -> Sequence[Needed]:
        """The table."""
        return [TABLE]

    @property
    def expected(self) -> int:
        """How many prompts there are."""
        return 1632

    def prompts(self, folder: Path) -> list[Prompt]:
        """The table's rows.

        Raises:
            UserError: not fetched, changed since, or another layout.
        """
        path = locate(TABLE)
        try:
            with path.open(encoding="utf-8", newline="") as lines:
                rows = list(
                    csv.DictReader(lines, delimiter="\t")
                )  # as pandas reads it: the marks of one quoted beginning are lost
            prompts = [Prompt(f"{index:04d}", row["Prompt"], row[self.breakdown]) for index, row in enumerate(rows)]
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise UserError(f"{path}: expected the table of PartiPrompts: {error!r}") from error
        return checked(prompts, path)
