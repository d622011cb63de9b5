"""``afa-bench compare``: what changed between two results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.errors import NothingToDoError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from afa_bench.gate.model import Finding


def compare(
    base: Annotated[str, typer.Argument(help="Results to compare with: a folder such as results/mini, or a suite's name.")],
    head: Annotated[str, typer.Argument(help="Results of the same suite to look at.")],
    form: Annotated[
        str, typer.Option("--format", "-f", help="rich, markdown, latex, html, csv or json.", metavar="FORMAT")
    ] = "rich",
    safe_csv: Annotated[bool, typer.Option("--safe-csv", help="For spreadsheets: as of table.")] = False,
    metrics: Annotated[str, typer.Option(help="Metrics by key.", metavar="KEY,...", show_default="all")] = "",
    group: Annotated[str, typer.Option(help="Groups of models.", metavar="NAME,...", show_default="all")] = "",
    only: Annotated[str, typer.Option(help="Methods, by name or row.", metavar="METHOD,...", show_default="all")] = "",
    steps: Annotated[str, typer.Option(help="Sampling steps: 10,20,50.", metavar="N,...", show_default="all")] = "",
) -> None:
    """Tell by how much HEAD is better or worse than BASE, paired by sample, with 95% intervals. Decides nothing: see gate."""
    import os

    from afa_bench import api
    from afa_bench.cli.options import numbers
    from afa_bench.gate.compare import about
    from afa_bench.gate.formats import render
    from afa_bench.gate.github import verbatim
    from afa_bench.gate.verdicts import NOTHING, exit_code
    from afa_bench.tables.formats import check_format
    from afa_bench.terminal import output, write

    check_format(form)
    if safe_csv and form != "csv":
        raise UserError("--safe-csv: expected --format csv")
    before, after = map(api.load_results, (base, head))
    findings = api.compare(before, after, metrics=metrics, only=only, groups=group, steps=numbers(steps, "--steps"))
    if form != "rich":
        write(render(findings, form, safe=safe_csv))
    else:
        with verbatim(os.environ):
            output().print(about(before, after))
            print_findings(findings)
    if exit_code(finding.verdict for finding in findings) == NOTHING:
        raise NothingToDoError(f"{before.folder} and {after.folder}: nothing in them is comparable")


def print_findings(findings: Sequence[Finding]) -> None:
    """Print findings to standard output, in colours and fitted where it is a terminal."""
    import shutil
    import sys

    from afa_bench.gate.terminal import render

    if sys.stdout.isatty():
        typer.echo(render(findings, shutil.get_terminal_size().columns, styled=True), nl=False, color=True)
    else:
        typer.echo(render(findings), nl=False)
