"""``afa-bench gate``: may this change go in?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.cli.options import folder_to_write, path
from afa_bench.errors import UserError


def gate(
    base: Annotated[str, typer.Argument(help="Results to hold HEAD to: a folder such as results/mini, or a suite's name.")],
    head: Annotated[str, typer.Argument(help="Results of the same suite to judge.")],
    policy: Annotated[
        Path | None, typer.Option(help="YAML file with the margins. Default: 2% of each per-sample metric's median.", parser=path)
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail (4) where it cannot be told as well.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for gate.json, summary.md and junit.xml.", callback=folder_to_write)
    ] = None,
) -> None:
    """Decide whether HEAD is worse than BASE by more than a margin.

    Exit: 0 ok; 1 regressed, or samples lost, failed or NaN; 2 usage; 3 nothing comparable; 4 undecided (--strict); 5 internal.
    """
    from afa_bench.cli.exits import INTERNAL

    try:
        code = _gate(base, head, policy, strict, out)
    except UserError:
        raise
    except Exception as error:  # whatever it is, CI must not take it for a regression
        import traceback

        traceback.print_exc()
        raise typer.Exit(INTERNAL) from error
    raise typer.Exit(code)


def _gate(base: str, head: str, file: Path | None, strict: bool, out: Path | None) -> int:
    import os

    from afa_bench import api
    from afa_bench.cli.compare import heading, print_findings
    from afa_bench.gate.files import write_files
    from afa_bench.gate.github import append_summary, commands, verbatim
    from afa_bench.terminal import output

    decision = api.gate(base, head, file, strict=strict)
    with verbatim(os.environ):
        typer.echo(heading(decision.suite, decision.revision, decision.base, decision.head))
        output().print(f"# {file or 'Policy by default; a file like this for --policy changes it'}")
        typer.echo(decision.policy.text(), nl=False)
        print_findings(decision.findings)
        typer.echo(decision.headline)
    if out:
        write_files(decision, out)
    if os.environ.get("GITHUB_ACTIONS"):
        for line in commands(decision):
            typer.echo(line)
    append_summary(decision, os.environ)
    return decision.code
