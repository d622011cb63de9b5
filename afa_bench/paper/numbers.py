"""The numbers which the paper prints, as they stand in ``numbers.csv``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

SOURCE = 'Wang et al., "Ensembling Diffusion Models via Adaptive Feature Aggregation", ICLR 2025, arXiv:2405.17082v2'
TABLES = range(1, 17)


@dataclass(frozen=True)
class Printed:
    """One number of the paper, and where it stands.

    Attributes:
        table: 1 to 16.
        dataset: whose prompts; empty for none.
        group: of models: ``I``, ``II``, ``SDXL``, ``FLUX.1-dev``; empty where a table has no groups.
        method: the row's name in the paper.
        n_models: how many models take part.
        images: made at once, in the tables of efficiency.
        steps: of sampling.
        metric: its name in the paper.
        unit: empty where the metric has none.
        text: the number with the paper's digits.
        suite: the suite that measures it, empty until it is known (:mod:`afa_bench.paper.build` says it).
    """

    table: int
    dataset: str
    group: str
    method: str
    n_models: int
    images: int | None
    steps: int
    metric: str
    unit: str
    text: str
    suite: str = ""

    @property
    def paper(self) -> float:
        """The number itself."""
        return float(self.text)

    @property
    def digits(self) -> int:
        """Decimals printed."""
        return len(self.text.partition(".")[2])


def printed_numbers(table: int) -> list[Printed]:
    """The numbers of one of the paper's tables, row by row."""
    text = (files(__package__) / "numbers.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return [
        Printed(
            table=table,
            dataset=row["dataset"],
            group=row["group"],
            method=row["method"],
            n_models=int(row["n_models"]),
            images=int(row["images"]) if row["images"] else None,
            steps=int(row["steps"]),
            metric=row["metric"],
            unit=row["unit"],
            text=row["paper"],
        )
        for row in rows
        if int(row["table"]) == table
    ]
