"""``afa-bench export``: results to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.cli.options import folder_to_write


def export(
    results: Annotated[str, typer.Argument(help="A folder such as results/mini, or a suite's name.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The submission's folder; an earlier one there is replaced.", callback=folder_to_write),
    ] = Path("submission"),
    dataset: Annotated[
        str, typer.Option(help="The benchmark's data set on the hub; .eval_results are written for it.", metavar="OWNER/NAME")
    ] = "",
    source: Annotated[str, typer.Option(help="Where the results can be looked at.", metavar="URL")] = "",
    images: Annotated[bool, typer.Option("--images", help="Take the images along.")] = False,
) -> None:
    """Write a submission: the rows, the tables, a model card and hub results for each method, and the sha256 of every file."""
    import re
    from functools import partial

    from afa_bench import api
    from afa_bench.errors import UserError
    from afa_bench.publish.hub import Benchmark
    from afa_bench.publish.submission import export as write
    from afa_bench.terminal import Bars, output

    if dataset and not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        raise UserError(f"--dataset: expected owner/name, found {dataset!r}")
    if source and not re.match(r"https?://\S+$", source):
        raise UserError(f"--source: expected a URL, found {source!r}")
    found, bars = api.load_results(results), Bars()
    with bars.stage("cells", len(found)):
        digest = write(found, out, Benchmark(dataset or None, source or None), images, partial(bars.advance, ""))
    output().print(f"{out}: {len(found)} cells, sha256 {digest}")
