"""Time and memory of AFA by the number of models, with random weights of the true architecture, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afa_bench.bench.ensembles import Measured, measure
from afa_bench.terminal import Bars

if TYPE_CHECKING:
    from rich.table import Table


def run_afa(
    models: Sequence[int],
    architecture: str,
    *,
    size: int,
    batch: int,
    dtype: str,
    repeats: int,
    device: str,
    count: bool = False,
) -> Table:
    """Measure, a row for each number of models; see :func:`afa_bench.bench.ensembles.measure`."""
    found, bars = [], Bars()
    with bars.stage("measuring", len(models)):
        for number in models:
            found.append(measure(architecture, number, size, batch, dtype, repeats, device, count))
            bars.advance(f"{number} models", 1)
    return _table(found, f"{architecture}, {size} px, batch {batch}, {dtype}, {'counted' if count else device}")


def _table(found: Sequence[Measured], title: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.MARKDOWN)
    for column in ("models", "learned", "training", "peak", "checkpointed", "peak", "sampling", "peak"):
        table.add_column(column, no_wrap=True)
    for one in found:
        costs = [text for cost in (one.training, one.checkpointed, one.sampling) for text in (cost.time, cost.memory)]
        table.add_row(str(one.models), f"{one.learned / 1e6:.2f}M", *costs)
    return table
