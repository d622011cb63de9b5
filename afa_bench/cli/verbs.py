"""The verbs of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from afa_bench import __version__
from afa_bench.cli import (
    bench,
    cache,
    compare,
    doctor,
    export,
    fetch,
    figure,
    gate,
    gc,
    import_sabw,
    ls,
    maps,
    merge,
    mini,
    report,
    retry,
    run,
    score,
    search,
    stats,
    status,
    table,
    train,
    validate,
    verify,
)


def root() -> typer.Typer:
    """The command line with all verbs, in the order in which ``--help`` lists them."""
    app = typer.Typer(name="afa-bench", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_root)
    app.command("run")(run.run)
    app.command("status")(status.status)
    app.command("retry")(retry.retry)
    app.command("gc")(gc.gc)
    app.command("fetch")(fetch.fetch)
    app.command("score")(score.score)
    app.command("validate")(validate.validate)
    app.command("doctor")(doctor.doctor)
    app.command("table")(table.table)
    app.command("figure")(figure.figure)
    app.command("train")(train.train)
    app.command("cache")(cache.cache)
    app.command("import-sabw")(import_sabw.import_sabw)
    app.command("maps")(maps.maps)
    app.command("wins")(maps.wins)
    app.command("merge")(merge.merge)
    app.command("search")(search.search)
    app.command("compare")(compare.compare)
    app.command("gate")(gate.gate)
    app.command("report")(report.report)
    app.command("export")(export.export)
    app.command("verify")(verify.verify)
    app.command("stats")(stats.stats)
    app.command("ls")(ls.ls)
    app.add_typer(bench.app, name="bench")
    app.add_typer(mini.app, name="mini")
    return app


def _root(
    version: Annotated[bool, typer.Option("--version", callback=lambda value: _version(value), is_eager=True)] = False,
) -> None:
    """Benchmark ensembles and merges of diffusion models."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo("afa-bench " + __version__)
        raise typer.Exit
