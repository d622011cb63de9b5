"""``afa-bench export``: results to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    results: Annotated[str, typer.Argument(help="A folder such as results/mini, or a suite's name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The submission's folder; an earlier one there is replaced.")] = Path(
        "submission"
    ),
    dataset: Annotated[
        str, typer.Option(help="The benchmark's data set on the hub; .eval_results are written for it.", metavar="OWNER/NAME")
    ] = "",
    source: Annotated[str, typer.Option(help="Where the results can be looked at.", metavar="URL")] = "",
    images: Annotated[bool, typer.Option("--images", help="Take the images along.")] = False,
) -> None:
    """Write a submission: the rows, the tables, a model card and hub results for each method, and the sha256 of every file."""
    import re

    from rich.console import Console
    from rich.progress import Progress

    from afa_bench.errors import UserError
    from afa_bench.publish.hub import Benchmark
    from afa_bench.publish.submission import export as write
    from afa_bench.tables import load_results
    from afa_bench.tables.find import find_results

    if dataset and not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        raise UserError(f"--dataset: expected owner/name, found {dataset!r}")
    if source and not re.match(r"https?://\S+$", source):
        raise UserError(f"--source: expected a URL, found {source!r}")
    found = load_results(find_results(results))
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("cells", total=len(found.cells))
        benchmark = Benchmark(dataset or None, source or None)
        digest = write(found, out, benchmark, images, lambda steps: bars.update(task, advance=steps))
    typer.echo(f"{out}: {len(found.cells)} cells, sha256 {digest}")
