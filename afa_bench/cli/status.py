"""``afa-bench status``: how far a run is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from afa_bench.store.owners import Owner
    from afa_bench.store.status import CellStatus, Status

RESULTS = "A folder such as results/mini, or a suite's name. Default: the latest under ./results."


def status(
    results: Annotated[str | None, typer.Argument(help=RESULTS, show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say how far a run is: done, failed, running, rate, time left and disk, from the files alone, while it goes on."""
    import json

    from afa_bench.store.status import read_status
    from afa_bench.tables.find import find_results
    from afa_bench.terminal import output, write

    folder = find_results(results)
    found = read_status(folder)
    if as_json:
        write(json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n")
        return
    output().print(str(folder))
    print_status(found, output())


def print_status(found: Status, console: Console) -> None:
    """Print a row a cell, the total, who is at work, and the rate."""
    from rich.table import Table

    from afa_bench.terminal import text
    from afa_bench.words import line

    table = Table(show_footer=True, box=None)
    total = found.as_json()["total"]
    table.add_column("cell", footer="total", overflow="fold")
    for name in ("done", "failed", "left"):
        table.add_column(name, footer=f"{total[name]:,}", justify="right", no_wrap=True)
    table.add_column("running", footer=f"{total['running']:,}", justify="right", no_wrap=True)
    table.add_column("s/sample", justify="right", no_wrap=True)
    table.add_column("scored", footer=f"{total['scored']:,}", justify="right", no_wrap=True)
    for cell in found.cells:
        left = "?" if cell.planned is None else f"{cell.left:,}"
        seconds = "" if cell.seconds is None else f"{cell.seconds:.3g}"
        words = (f"{cell.done:,}", f"{cell.failed:,}", left, f"{len(cell.running):,}", seconds, "yes" if cell.scored else "no")
        table.add_row(text(line(_title(cell))), *words)
    console.print(table)
    for title, owner in _at_work(found):
        console.print(f"{title}: {_who(owner)}")
    console.print(_pace(found))


def _title(cell: CellStatus) -> str:
    return f"{cell.cell.group} {cell.cell.label} " + (f"{cell.cell.steps} steps" if cell.cell.steps else "denoising loss")


def _at_work(found: Status) -> list[tuple[str, Owner]]:
    shards = [(f"{_title(cell)}, shard {claim.shard}", claim.owner) for cell in found.cells for claim in cell.running]
    return shards + ([("scoring", found.scoring)] if found.scoring else [])


def _who(owner: Owner) -> str:
    from datetime import datetime

    since = datetime.fromtimestamp(owner.since).astimezone()
    return f"process {owner.pid} on {owner.host} since {since:%Y-%m-%d %H:%M:%S %z}"


def _pace(found: Status) -> str:
    parts = []
    if found.rate:
        parts.append(f"{found.rate:.3g} samples/s")
    if found.time_left:
        parts.append(f"{duration(found.time_left)} left")
    elif found.work_left:
        parts.append(f"nobody is at work; {duration(found.work_left)} left for one process")
    return ", ".join([*parts, f"{size(found.disk)} on disk"])


def duration(seconds: float) -> str:
    """Seconds in words: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"


def size(count: float) -> str:
    """Bytes in words: 12 kB, 3.4 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
