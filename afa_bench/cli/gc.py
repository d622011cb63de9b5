"""``afa-bench gc``: remove debris."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.cli.status import RESULTS, size

if TYPE_CHECKING:
    from afa_bench.store.debris import Debris


def gc(
    results: Annotated[str | None, typer.Argument(help=RESULTS, show_default=False)] = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Count finished cells that the suite no longer has as debris, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it, too.")] = False,
) -> None:
    """Show what a results folder holds that is no result: half files, claims of lost processes, cells that were given up.

    Finished cells that the suite no longer has (it was changed since) are shown, too; only --dropped --yes removes them.
    """
    from afa_bench.store.debris import find_debris, find_dropped, remove_debris
    from afa_bench.tables.find import find_results

    folder = find_results(results)
    debris, cells = find_debris(folder), find_dropped(folder)
    if dropped:
        debris = [one for one in debris if not any(one.path.is_relative_to(cell.path) for cell in cells)] + cells
    total = _show(debris)
    kept = 0 if dropped else _show(cells)
    if yes:
        remove_debris(debris)
    ending = "removed" if yes else "--yes removes it"
    typer.echo(f"{folder}: " + (f"{len(debris)} to remove, {size(total)}: {ending}" if debris else "nothing to remove"))
    if cells and not dropped:
        typer.echo(f"{folder}: {len(cells)} finished and no longer in the suite, {size(kept)}: kept without --dropped")


def _show(debris: Sequence[Debris]) -> int:
    """A line each; their bytes."""
    from afa_bench.store.status import disk_used

    total = 0
    for one in debris:
        used = disk_used(one.path)
        total += used
        typer.echo(f"{one.path}: {one.reason}, {size(used)}")
    return total
