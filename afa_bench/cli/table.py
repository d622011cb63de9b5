"""``afa-bench table``: what was measured, as a table."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from afa_bench.tables import Table


def table(
    results: Annotated[
        str | None,
        typer.Argument(
            help="A folder such as results/mini, or a suite's name. Default: the latest under ./results.", show_default=False
        ),
    ] = None,
    steps: Annotated[str, typer.Option(help="Sampling steps, in order: 10,20,50.", metavar="N,...", show_default="all")] = "",
    form: Annotated[
        str, typer.Option("--format", "-f", help="rich, markdown, latex, html, csv or json.", metavar="FORMAT")
    ] = "rich",
    metrics: Annotated[str, typer.Option(help="Metrics by key, in order.", metavar="KEY,...", show_default="all")] = "",
    group: Annotated[str, typer.Option(help="Groups of models.", metavar="NAME,...", show_default="all")] = "",
    only: Annotated[str, typer.Option(help="Methods, by name or row.", metavar="METHOD,...", show_default="all")] = "",
    vs: Annotated[str, typer.Option(help="Add paired differences to this method.", metavar="METHOD", show_default="none")] = "",
    by: Annotated[str, typer.Option(help="Break down: category.", metavar="PART", show_default="none")] = "",
    repeats: Annotated[bool, typer.Option("--repeats", help="Add how much a value moves between repeats.")] = False,
    safe_csv: Annotated[
        bool,
        typer.Option("--safe-csv", help="CSV for spreadsheets: an apostrophe before what they would compute, and a BOM."),
    ] = False,
    paper: Annotated[
        int | None,
        typer.Option(
            help="Print this table of the paper, 1 to 16, with what was measured beside it; --group and --metrics stand in for "
            "its own, in order. 6 and 9 take the file of `bench methods` for RESULTS.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print a suite's results: methods by metrics, steps side by side, means with 95% intervals."""
    from afa_bench import api
    from afa_bench.cli.options import numbers
    from afa_bench.tables.formats import check_format
    from afa_bench.terminal import messages

    check_format(form)
    if safe_csv and form != "csv":
        raise UserError(f"--safe-csv: goes with --format csv, found {form}")
    if paper is not None:
        if steps or only or vs or by or repeats:
            raise UserError("--paper: takes --group, --metrics and --format alone; the paper's table fixes the rest")
        print_table(_of_paper(paper, results, api.names(group), api.names(metrics)), form, safe_csv)
        return
    found = api.load_results(results)
    if results is None:
        messages().print(f"{found.folder}: the latest results under ./results")
    shown = api.table(
        found,
        steps=numbers(steps, "--steps"),
        metrics=metrics,
        groups=group,
        only=only,
        versus=vs or None,
        by=by or None,
        repeats=repeats,
    )
    print_table(shown, form, safe_csv)


def _of_paper(number: int, results: str | None, groups: Sequence[str], metrics: Sequence[str]) -> Table:
    from afa_bench.cli.options import path
    from afa_bench.paper import paper_table
    from afa_bench.tables.find import find_results

    measured = None
    if results is not None:
        measured = path(results) if results.endswith(".json") else find_results(results)
    return paper_table(number, measured, groups=groups, metrics=metrics)


def print_table(shown: Table, form: str = "rich", safe_csv: bool = False) -> None:
    """Print a table to standard output; fitted to a terminal, with bold and underlined, where there is one.

    Raises:
        UserError: an unknown format.
    """
    from afa_bench.terminal import write

    if form == "rich" and sys.stdout.isatty():
        from afa_bench.tables.formats.rich import render as render_rich

        typer.echo(render_rich(shown, shutil.get_terminal_size().columns, styled=True), nl=False)
    elif form == "rich":
        typer.echo(shown.render(form), nl=False)
    elif safe_csv:
        from afa_bench.tables.formats.csv import render as render_csv

        write(render_csv(shown, safe=True))
    else:
        write(shown.render(form))
