"""``afa-bench report``: results as a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.cli.options import folder_to_write


def report(
    results: Annotated[
        str | None,
        typer.Argument(
            help="A folder such as results/mini, or a suite's name. Default: the latest under ./results.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The report's folder; an earlier report there is replaced.", callback=folder_to_write),
    ] = Path("report"),
    images: Annotated[
        str, typer.Option(help="copy images and thumbnails, small: thumbnails alone, link: leave the images where they are.")
    ] = "copy",
) -> None:
    """Write a folder with a web page: tables, curves, the images of all methods side by side, provenance. Needs no server."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    from afa_bench import api
    from afa_bench.errors import UserError, suggest
    from afa_bench.report import write_report
    from afa_bench.report.images import Mode
    from afa_bench.terminal import column, messages, progress, warn

    if images not in list(Mode):
        raise UserError(f"--images: unknown mode {images!r}: {suggest(images, [mode.value for mode in Mode])}")
    found = api.load_results(results, scored=False)
    columns = (column("{task.description:6}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress(*columns, transient=True) as bars:

        def stage(title: str, total: int):  # type: ignore[no-untyped-def]
            task = bars.add_task(title, total=total)
            return lambda steps: bars.update(task, advance=steps)

        write_report(found, out, Mode(images), stage)
    if found.under_way:
        warn(f"{found.folder}: {found.under_way}")
    messages().print(f"{out / 'index.html'}")
