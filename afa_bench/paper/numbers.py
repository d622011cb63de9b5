"""The numbers which the paper prints, as they stand in ``numbers.csv``."""

from __future__ import annotations

import csv
from importlib.resources import files

from afa_bench.tables.model import Printed

SOURCE = 'Wang et al., "Ensembling Diffusion Models via Adaptive Feature Aggregation", ICLR 2025, arXiv:2405.17082v2'
TABLES = range(1, 17)


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
