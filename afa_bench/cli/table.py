"""``afa-bench table``: what was measured, as a table."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from afa_bench.tables import Table


def table(
    results: Annotated[
        str | None,
        typer.Argument(
            help="A folder such as results/mini, or a suite's name. Default: the latest under ./results.", show_default=False
        ),
    ] = None,
    steps: Annotated[str, typer.Option(help="Sampling steps, in order: 10,20,50.", metavar="N,...", show_default="all")] = "",
    form: Annotated[str, typer.Option("--format", "-f", help="rich, markdown, latex, csv or json.", metavar="FORMAT")] = "rich",
    metrics: Annotated[str, typer.Option(help="Metrics by key, in order.", metavar="KEY,...", show_default="all")] = "",
    group: Annotated[str, typer.Option(help="Groups of models.", metavar="NAME,...", show_default="all")] = "",
    only: Annotated[str, typer.Option(help="Methods, by name or row.", metavar="METHOD,...", show_default="all")] = "",
    vs: Annotated[str, typer.Option(help="Show paired differences to this method.", metavar="METHOD", show_default="none")] = "",
) -> None:
    """Print a suite's results: methods by metrics, steps side by side, means with 95% intervals."""
    from afa_bench.cli.run import names, numbers
    from afa_bench.tables import build_table, load_results
    from afa_bench.tables.find import find_results
    from afa_bench.tables.formats import check_format

    check_format(form)
    folder = find_results(results)
    if results is None:
        typer.echo(f"{folder}: the latest results under ./results", err=True)
    shown = build_table(
        load_results(folder),
        steps=numbers(steps, "--steps"),
        metrics=names(metrics),
        groups=names(group),
        only=names(only),
        versus=vs or None,
    )
    print_table(shown, form)


def print_table(shown: Table, form: str = "rich") -> None:
    """Print a table to standard output; fitted to a terminal, with bold and underlined, where there is one.

    Raises:
        UserError: an unknown format.
    """
    if form == "rich" and sys.stdout.isatty():
        from afa_bench.tables.formats.rich import render as render_rich

        text = render_rich(shown, shutil.get_terminal_size().columns, styled=True)
    else:
        from afa_bench.tables import render

        text = render(shown, form)
    typer.echo(text, nl=False)
