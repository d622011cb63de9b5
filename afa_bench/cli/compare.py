"""``afa-bench compare``: what changed between two results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.errors import NothingToDoError, UserError, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from afa_bench.gate.model import Finding

FORMATS = ("rich", "markdown", "json")


def compare(
    base: Annotated[str, typer.Argument(help="Results to compare with: a folder such as results/mini, or a suite's name.")],
    head: Annotated[str, typer.Argument(help="Results of the same suite to look at.")],
    form: Annotated[str, typer.Option("--format", "-f", help="rich, markdown or json.", metavar="FORMAT")] = "rich",
    metrics: Annotated[str, typer.Option(help="Metrics by key.", metavar="KEY,...", show_default="all")] = "",
    group: Annotated[str, typer.Option(help="Groups of models.", metavar="NAME,...", show_default="all")] = "",
    only: Annotated[str, typer.Option(help="Methods, by name or row.", metavar="METHOD,...", show_default="all")] = "",
    steps: Annotated[str, typer.Option(help="Sampling steps: 10,20,50.", metavar="N,...", show_default="all")] = "",
) -> None:
    """Tell by how much HEAD is better or worse than BASE, paired by sample, with 95% intervals. Decides nothing: see gate."""
    import json
    import os

    from afa_bench import api
    from afa_bench.cli.options import numbers
    from afa_bench.gate.files import finding_json, markdown_table
    from afa_bench.gate.github import verbatim
    from afa_bench.gate.verdicts import NOTHING, exit_code
    from afa_bench.terminal import write

    if form not in FORMATS:
        raise UserError(f"--format: unknown format {form!r}: {suggest(form, FORMATS)}")
    before, after = map(api.load_results, (base, head))
    findings = api.compare(before, after, metrics=metrics, only=only, groups=group, steps=numbers(steps, "--steps"))
    if form == "json":
        write(json.dumps([finding_json(finding) for finding in findings], indent=1, allow_nan=False) + "\n")
    elif form == "markdown":
        write(markdown_table(findings) + "\n")
    else:
        with verbatim(os.environ):
            typer.echo(heading(before.suite, before.revision, before.folder, after.folder))
            print_findings(findings)
    if exit_code(finding.verdict for finding in findings) == NOTHING:
        raise NothingToDoError(f"{before.folder} and {after.folder}: nothing in them is comparable")


def heading(suite: str, revision: int, base: object, head: object) -> str:
    from afa_bench.words import line

    return line(f"Suite {suite}, revision {revision}: {head} (HEAD) against {base} (BASE)")


def print_findings(findings: Sequence[Finding]) -> None:
    """Print findings to standard output, in colours and fitted where it is a terminal."""
    import shutil
    import sys

    from afa_bench.gate.terminal import render

    if sys.stdout.isatty():
        typer.echo(render(findings, shutil.get_terminal_size().columns, styled=True), nl=False, color=True)
    else:
        typer.echo(render(findings), nl=False)
