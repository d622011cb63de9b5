"""``samples.parquet``, written so that a damaged byte is seen; :mod:`afa_bench.store.columns` reads it.

Parquet's pages have checksums; what the footer says of the columns has one too, as the file's metadata.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from afa_bench.identity import fingerprint

PLACE = ("group", "method", "label", "steps")
"""Where a cell stands in a table: the same in all of its rows."""

OPTIONAL = ("negative_prompt", "cluster")
"""Columns that rows have where a suite's prompts have them."""

WORDS = ("sample_id", "prompt_id", "prompt", "category", "file", "sha256", "error", "device")
TEXTS = (*PLACE[:3], *WORDS, *OPTIONAL)
COUNTS = ("steps", "image_index", "repeat", "seed", "batch")
COLUMNS = frozenset({*TEXTS, *COUNTS, "seconds"})
"""What a row has beside the values of metrics."""

OF_SUITE = (*PLACE, *WORDS, *COUNTS[1:], "seconds")
"""What every row of a suite has."""

SEAL = b"afa_bench.columns"
"""Metadata key of the fingerprint of the columns' names and types and the number of rows."""


def encode_rows(rows: Sequence[Mapping[str, Any]], place: Mapping[str, Any] | None = None, metrics: Iterable[str] = ()) -> bytes:
    """Rows as a Parquet file: :data:`TEXTS` as strings, :data:`COUNTS` as whole numbers, all others as floating-point numbers.

    Args:
        rows: a mapping a sample.
        place: the values of :data:`PLACE`, for a cell of a suite: its columns are those of all cells, in the same order.
        metrics: the columns of the suite's metrics.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types, given = types_of_columns(), place or {}
    suites = () if place is None else (*OF_SUITE, *metrics)
    columns = dict.fromkeys((*suites, *(name for row in rows for name in row)))
    values = {name: [given.get(name, row.get(name)) for row in rows] for name in columns}
    table = pa.table({name: pa.array(column, types.get(name, pa.float64())) for name, column in values.items()})
    table = table.replace_schema_metadata({SEAL: seal(table.schema, len(rows))})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def types_of_columns() -> dict[str, Any]:
    """Arrow's types of :data:`TEXTS` and :data:`COUNTS`."""
    import pyarrow as pa

    return {name: pa.string() for name in TEXTS} | {name: pa.int64() for name in COUNTS}


def seal(schema: Any, rows: int) -> bytes:
    """The fingerprint of columns and a number of rows."""
    return fingerprint([[[field.name, str(field.type)] for field in schema], rows]).encode()
