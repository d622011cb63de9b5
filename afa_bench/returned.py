"""What the functions of the library return that make files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from afa_bench.run import RunOutcome
    from afa_bench.scoring.extraction import ExtractionRecord
    from afa_bench.scoring.folder import FolderScores
    from afa_bench.tables import Results


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Attributes:
        folder: of its results.
        cells: the names of its cells' folders there.
        outcome: what it did: samples made, found done, failed, and left to others; metrics without weights.
    """

    folder: Path
    cells: tuple[str, ...]
    outcome: RunOutcome

    @cached_property
    def results(self) -> Results:
        """What its cells came to, those of earlier runs of the same suite aside."""
        from afa_bench.tables.load import load_results

        return load_results(self.folder, self.cells)


@dataclass(frozen=True)
class Scores:
    """What a folder of images was scored with.

    Attributes:
        folder: of ``samples.parquet`` and ``summary.json``.
        outcome: the values, and what has none, and why.
        record: images decoded, seconds, batches.
    """

    folder: Path
    outcome: FolderScores
    record: ExtractionRecord

    @cached_property
    def values(self) -> dict[str, float | None]:
        """Metric -> value; None where there is none."""
        return {key: entry["value"] for key, entry in self.outcome.summary.items()}

    def samples(self) -> DataFrame:
        """A row an image: its caption, its values, what is amiss with it."""
        from afa_bench.store.columns import read_columns

        table = read_columns(self.folder / "samples.parquet", lambda field: True, "scoring wrote it")
        return table.to_pandas()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Merged:
    """A merge that was written: where, and of how many tensors."""

    path: Path
    tensors: int
