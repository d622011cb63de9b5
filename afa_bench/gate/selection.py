"""Which cells and metrics of two results are looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from afa_bench.chosen import is_meant
from afa_bench.errors import UserError, suggest
from afa_bench.tables.load import CellFile, Results


@dataclass(frozen=True)
class Selection:
    """What to keep; an empty tuple keeps everything.

    Attributes:
        metrics: keys.
        methods: by name, or by their row's label.
        groups: of models.
        steps: numbers of sampling steps; cells without sampling stay.
    """

    metrics: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()

    def keeps(self, cell: CellFile, labels: Collection[str]) -> bool:
        """Whether a cell is looked at; ``labels`` are those of the rows of its group."""
        return (
            (not self.methods or is_meant(self.methods, cell.label, cell.method, labels))
            and (not self.groups or cell.group in self.groups)
            and (not self.steps or cell.steps is None or cell.steps in self.steps)
        )

    def check(self, where: str, *results: Results) -> None:
        """Refuse what none of the results has: a typing error would look at nothing, and pass.

        Args:
            where: the error's first words.
            results: of BASE and of HEAD.

        Raises:
            UserError: with the nearest known names.
        """
        cells = [result.cell for side in results for result in side.cells]
        known: dict[str, Iterable[Any]] = {
            "metrics": (key for side in results for key in side.metrics),
            "methods": (name for cell in cells for name in (cell.method, cell.label)),
            "groups": (cell.group for cell in cells),
            "steps": (cell.steps for cell in cells if cell.steps is not None),
        }
        for key, there in known.items():
            names = list(dict.fromkeys(there))
            for name in getattr(self, key):
                if name not in names:
                    hint = suggest(str(name), map(str, names))
                    raise UserError(f"{where}{key}: {name!r} is in neither of the results: {hint}")
