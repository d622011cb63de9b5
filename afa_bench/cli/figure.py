"""``afa-bench figure``: the paper's figures, from results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.cli.options import file_to_write
from afa_bench.errors import UserError


def figure(
    number: Annotated[int, typer.Argument(help="The paper's figure: 1, 4, 6, 7 or 8.")],
    results: Annotated[
        str | None,
        typer.Argument(
            help="A folder such as results/mini, or a suite's name. Default: the latest under ./results.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write: .svg, .png or .pdf. Default: figure-N.svg.",
            show_default=False,
            callback=file_to_write(".svg", ".png", ".pdf"),
        ),
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="The metric, by key.", metavar="KEY", show_default="ImageReward or the first")
    ] = "",
    group: Annotated[str, typer.Option(help="Groups of models.", metavar="NAME,...", show_default="all")] = "",
    only: Annotated[
        str, typer.Option(help="Methods, by name or row.", metavar="METHOD,...", show_default="as in the paper")
    ] = "",
    prompt: Annotated[list[str] | None, typer.Option(help="Id of a prompt to show; may be repeated.", metavar="ID")] = None,
) -> None:
    """Draw a figure of the paper's from a suite's results."""
    from afa_bench import api
    from afa_bench.paper.figures import draw_figure
    from afa_bench.paper.figures.draw import MAPS
    from afa_bench.terminal import messages, output

    if number in MAPS:
        raise UserError(f"figure {number}: shows the inside of models, which results do not hold: `{MAPS[number]}` draws it")
    found = api.load_results(results)
    if results is None:
        messages().print(f"{found.folder}: the latest results under ./results")
    chosen = api.names(metrics)
    if len(chosen) > 1:
        raise UserError(f"--metrics: a figure shows one metric, found {len(chosen)}")
    file = out or Path(f"figure-{number}.svg")
    draw_figure(
        number,
        found,
        file,
        metric="".join(chosen),
        groups=api.names(group),
        only=api.names(only),
        prompts=prompt or (),
    )
    output().print(str(file))
