"""The command ``afa-bench``: one thin file a verb. Only what a verb needs is imported, when it runs."""

from __future__ import annotations

import signal
import sys

import typer

from afa_bench import __version__
from afa_bench.errors import USAGE, UserError
from afa_bench.store.place import foreign

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, as of a job that is preempted or runs out of time."""


def app() -> typer.Typer:
    """The command line with all verbs."""
    from afa_bench.cli import (
        bench,
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

    root = typer.Typer(name="afa-bench", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    root.callback()(_root)
    root.command("run")(run.run)
    root.command("status")(status.status)
    root.command("retry")(retry.retry)
    root.command("gc")(gc.gc)
    root.command("fetch")(fetch.fetch)
    root.command("score")(score.score)
    root.command("validate")(validate.validate)
    root.command("doctor")(doctor.doctor)
    root.command("table")(table.table)
    root.command("figure")(figure.figure)
    root.command("train")(train.train)
    root.command("import-sabw")(import_sabw.import_sabw)
    root.command("maps")(maps.maps)
    root.command("wins")(maps.wins)
    root.command("merge")(merge.merge)
    root.command("search")(search.search)
    root.command("compare")(compare.compare)
    root.command("gate")(gate.gate)
    root.command("report")(report.report)
    root.command("export")(export.export)
    root.command("verify")(verify.verify)
    root.command("stats")(stats.stats)
    root.command("ls")(ls.ls)
    root.add_typer(bench.app, name="bench")
    root.add_typer(mini.app, name="mini")
    return root


def _root(version: bool = typer.Option(False, "--version", callback=lambda value: _version(value), is_eager=True)) -> None:
    """Benchmark ensembles and merges of diffusion models."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"afa-bench {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: a user's mistake is one line and an exit code, never a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()()
    except UserError as error:
        print(f"afa-bench: {error}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        print("afa-bench: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except _Terminated:
        print("afa-bench: terminated; run the same command again to go on", file=sys.stderr)
        sys.exit(TERMINATED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a disk or a mount that fails where no one expected it
        print(f"afa-bench: {error}", file=sys.stderr)
        sys.exit(USAGE)
    except Exception as error:
        if not foreign(error):
            raise
        print(f"afa-bench: storage: {error}", file=sys.stderr)
        sys.exit(USAGE)


class _Terminated(BaseException):
    """SIGTERM: unwinds like Ctrl-C, so that nothing half done and no claim stays."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
    raise _Terminated
