"""``samples.parquet``: written so that a damaged byte is seen, read without pandas.

Parquet's pages have checksums; what the footer says of the columns has one too, as the file's metadata.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from afa_bench.errors import NotFoundError, UserError
from afa_bench.identity import fingerprint
from afa_bench.store.atomic import write_bytes

TEXTS = ("sample_id", "prompt_id", "prompt", "negative_prompt", "cluster", "category", "file", "sha256", "error", "device")
COUNTS = ("image_index", "repeat", "seed", "batch")
COLUMNS = frozenset({*TEXTS, *COUNTS, "seconds"})
"""What a row has beside the values of metrics."""

SEAL = b"afa_bench.columns"
"""Metadata key of the fingerprint of the columns' names and types and the number of rows."""


def encode_rows(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows as a Parquet file: :data:`TEXTS` as strings, :data:`COUNTS` as whole numbers, all others as floating-point numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = _types()
    columns = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: pa.array([row.get(name) for row in rows], types.get(name, pa.float64())) for name in columns})
    table = table.replace_schema_metadata({SEAL: _seal(table.schema, len(rows))})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def read_columns(file: Path, wanted: Callable[[Any], bool], why: str) -> Any:
    """Some columns of a cell's rows, as an Arrow table; texts are strings in it, and counts 64-bit integers.

    Args:
        file: such as ``results/mini/<cell>/samples.parquet``.
        wanted: which fields of the schema to read.
        why: ends the sentence "... missing: ..." where there is no such file.

    Raises:
        UserError: the file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.exists():
        raise NotFoundError(f"{file}: missing: {why}")
    try:
        with file.open("rb") as opened, pq.ParquetFile(opened, page_checksum_verification=True) as parquet:
            schema = parquet.schema_arrow
            seal = (schema.metadata or {}).get(SEAL)
            if seal not in (None, _seal(schema, parquet.metadata.num_rows)) or len({*schema.names}) < len(schema):
                raise ValueError("its columns are not those that were written")
            # not read_table, which imports pandas
            table = parquet.read([field.name for field in schema if wanted(field)], use_threads=False)
        types = _types()
        return table.cast(pa.schema([field.with_type(types.get(field.name, field.type)) for field in table.schema]))
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise UserError(f"{file}: corrupt: {error}") from error


def rewrite(file: Path, name: str, values: Sequence[str]) -> None:
    """Give a text column of a cell's rows other values, if they are others.

    Raises:
        UserError: the file is damaged, or cannot be written.
    """
    if read_columns(file, lambda field: field.name == name, "").to_pydict() != {name: list(values)}:
        rows = read_columns(file, lambda field: True, "").to_pylist()
        write_bytes(file, encode_rows([{**row, name: value} for row, value in zip(rows, values, strict=True)]))


def _types() -> dict[str, Any]:
    import pyarrow as pa

    return {name: pa.string() for name in TEXTS} | {name: pa.int64() for name in COUNTS}


def _seal(schema: Any, rows: int) -> bytes:
    return fingerprint([[[field.name, str(field.type)] for field in schema], rows]).encode()
