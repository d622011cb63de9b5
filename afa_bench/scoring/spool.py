"""Features of very many images or texts: appended to unnamed files and mapped, so that they are in no one's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_bench.extractors.base import Floats

IN_MEMORY = 5_000
"""Of more rows than these a metric reads the file in parts (``metrics.base.Features.generated``)."""


class Column:
    """Rows ``(D,)`` of float32, in the order in which they were added."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 # closed with the column
        self._shape = (0, 0)

    def __len__(self) -> int:
        return self._shape[0]

    def add(self, rows: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(rows, dtype=np.float32).tobytes())
        self._shape = (len(self) + len(rows), rows.shape[1])

    def mapped(self) -> NDArray[np.float32]:
        """All rows ``(n, D)``, read from the file where they are looked at."""
        self._file.flush()
        return np.memmap(self._file, np.float32, "r", shape=self._shape)

    def whole(self) -> Any:
        """All rows ``(n, D)``: float64 in memory, or float32 in the file where there are more than :data:`IN_MEMORY`."""
        return self.mapped() if len(self) > IN_MEMORY else np.asarray(self.mapped(), dtype=np.float64)


class NamedRows:
    """Rows of several columns, known by the name that was given with them."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self.columns: dict[str, Column] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def add(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append a row for each name to each column: ``arrays`` holds ``(len(names), D)`` by column."""
        for column, rows in arrays.items():
            if column not in self.columns:
                self.columns[column] = Column()
            self.columns[column].add(rows)
        self._places.update(zip(names, range(len(self._places), len(self._places) + len(names)), strict=True))

    def of(self, column: str, names: Sequence[str]) -> Floats:
        """``(len(names), D)``."""
        places = [self._places[name] for name in names]
        return np.asarray(self.columns[column].mapped()[places], dtype=np.float64)
