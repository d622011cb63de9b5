"""Rows of tables: .csv, .tsv, .jsonl and .parquet files, some columns of them, one row after the other."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The rows of a table.

    Args:
        path: its suffix says which kind it is.
        columns: those of interest; a row has at least these.

    Raises:
        UserError: unreadable, another kind, or a column is missing.
    """
    if path.suffix not in TABLES:
        raise UserError(f"{path}: expected a {', '.join(TABLES)} file")
    try:
        for number, row in enumerate(_rows(path, columns), start=1):
            if missing := [column for column in columns if not isinstance(row, Mapping) or column not in row]:
                raise UserError(f"{path}: row {number}: {missing[0]}: expected this column")
            yield row
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix}: {error}") from error


def _rows(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            known = file.schema_arrow.names
            for batch in file.iter_batches(batch_size=8192, columns=[column for column in columns if column in known]):
                yield from batch.to_pylist()
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
    else:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
