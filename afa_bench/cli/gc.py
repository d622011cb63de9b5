"""``afa-bench gc``: remove debris."""

from __future__ import annotations

from typing import Annotated

import typer

from afa_bench.cli.status import RESULTS, size


def gc(
    results: Annotated[str | None, typer.Argument(help=RESULTS, show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it, too.")] = False,
) -> None:
    """Show what a results folder holds that is no result: half files, claims of lost processes, cells that were given up."""
    from afa_bench.store.debris import find_debris, remove_debris
    from afa_bench.store.status import disk_used
    from afa_bench.tables.find import find_results

    folder = find_results(results)
    debris = find_debris(folder)
    total = 0
    for one in debris:
        used = disk_used(one.path)
        total += used
        typer.echo(f"{one.path}: {one.reason}, {size(used)}")
    if yes:
        remove_debris(debris)
    ending = "removed" if yes else "--yes removes it"
    typer.echo(f"{folder}: " + (f"{len(debris)} to remove, {size(total)}: {ending}" if debris else "nothing to remove"))
