"""``afa-bench bench``: speed and memory. A subcommand is a function in a file of its own in ``afa_bench/bench/``."""

from __future__ import annotations

import typer

app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure speed and memory on this machine."""
