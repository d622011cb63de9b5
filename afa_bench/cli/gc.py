"""``afa-bench gc``: remove what no result needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.cli.status import RESULTS, size

if TYPE_CHECKING:
    from afa_bench.store.garbage import Garbage


def gc(
    results: Annotated[str | None, typer.Argument(help=RESULTS, show_default=False)] = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Count finished cells that the suite no longer has as garbage too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it, too.")] = False,
) -> None:
    """Show what a results folder holds that is no result: half files, claims of lost processes, cells that were given up.

    Finished cells that the suite no longer has (it was changed since) are shown, too; only --dropped --yes removes them.
    """
    from afa_bench.store.claims import clock
    from afa_bench.store.garbage import find_dropped, find_garbage, remove_garbage
    from afa_bench.store.owners import here
    from afa_bench.tables.find import find_results
    from afa_bench.terminal import output

    folder = find_results(results)
    garbage, cells = find_garbage(folder, clock if yes else here), find_dropped(folder)
    if dropped:
        garbage = [one for one in garbage if not any(one.path.is_relative_to(cell.path) for cell in cells)] + cells
    total = _show(garbage)
    kept = 0 if dropped else _show(cells)
    if yes:
        remove_garbage(garbage)
    ending = "removed" if yes else "--yes removes it"
    output().print(f"{folder}: " + (f"{len(garbage)} to remove, {size(total)}: {ending}" if garbage else "nothing to remove"))
    if cells and not dropped:
        output().print(f"{folder}: {len(cells)} finished and no longer in the suite, {size(kept)}: kept without --dropped")


def _show(garbage: Sequence[Garbage]) -> int:
    """A line each; their bytes."""
    from afa_bench.store.status import disk_used
    from afa_bench.terminal import output

    total = 0
    for one in garbage:
        used = disk_used(one.path)
        total += used
        output().print(f"{one.path}: {one.reason}, {size(used)}")
    return total
