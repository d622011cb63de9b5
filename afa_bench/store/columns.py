"""Columns of ``samples.parquet``, read without pandas; a damaged byte is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from afa_bench.errors import NotFoundError, UserError
from afa_bench.store.rows import SEAL, seal, types_of_columns


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
            mark = (schema.metadata or {}).get(SEAL)
            if mark not in (None, seal(schema, parquet.metadata.num_rows)) or len({*schema.names}) < len(schema):
                raise ValueError("its columns are not those that were written")
            # not read_table, which imports pandas
            table = parquet.read([field.name for field in schema if wanted(field)], use_threads=False)
        types = types_of_columns()
        return table.cast(pa.schema([field.with_type(types.get(field.name, field.type)) for field in table.schema]))
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise UserError(f"{file}: corrupt: {error}") from error
