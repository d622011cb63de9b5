"""``afa-bench gate``: may this change go in?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.errors import UserError


def gate(
    base: Annotated[str, typer.Argument(help="Results to hold HEAD to: a folder such as results/mini, or a suite's name.")],
    head: Annotated[str, typer.Argument(help="Results of the same suite to judge.")],
    policy: Annotated[
        Path | None, typer.Option(help="YAML file with the margins. Default: 2% of each per-sample metric's median.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail (4) where it cannot be told as well.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for gate.json, summary.md and junit.xml.")] = None,
) -> None:
    """Decide whether HEAD is worse than BASE by more than a margin.

    Exit: 0 ok; 1 regressed, or samples lost, failed or NaN; 2 usage; 3 nothing comparable; 4 undecided (--strict); 5 internal.
    """
    from afa_bench.gate.verdicts import INTERNAL

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

    from afa_bench.cli.compare import print_findings
    from afa_bench.gate import Decision, compare_results, default_policy, judge, read_policy
    from afa_bench.gate.files import write_files
    from afa_bench.gate.github import append_summary, commands, verbatim
    from afa_bench.gate.text import plain
    from afa_bench.tables.find import find_results
    from afa_bench.tables.load import load_results

    policy = read_policy(file) if file else None
    folders = find_results(base), find_results(head)
    before, after = map(load_results, folders)
    held = policy or default_policy(before)
    held.selection.check(f"{file}: " if file else "", before, after)
    findings = judge(compare_results(before, after, held.selection, level=1 - held.alpha), held)
    decision = Decision(before.suite, before.revision, str(folders[0]), str(folders[1]), held, strict, tuple(findings))
    with verbatim(os.environ):
        typer.echo(plain(f"Suite {before.suite}, revision {before.revision}: {folders[1]} (HEAD) against {folders[0]} (BASE)"))
        typer.echo(f"# {plain(str(file)) if file else 'Policy by default; a file like this for --policy changes it'}")
        typer.echo(held.text(), nl=False)
        print_findings(findings)
        typer.echo(decision.headline)
    if out:
        write_files(decision, out)
    if os.environ.get("GITHUB_ACTIONS"):
        for line in commands(decision):
            typer.echo(line)
    append_summary(decision, os.environ)
    return decision.code
