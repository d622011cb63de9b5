"""``afa-bench validate``: check a suite without weights, and say what it will take."""

from __future__ import annotations

from typing import Annotated

import typer


def validate(
    suite: Annotated[str, typer.Argument(help="A suite's YAML file, or the name of a packaged suite.")],
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Denoiser evaluations a second at 512 px on your GPU; by default 34 (SD 1.5 on a V100)."),
    ] = None,
) -> None:
    """Check a suite without weights and print its plan: cells, samples, images, GPU-hours, disk, and what is not fetched yet."""
    from rich import box
    from rich.table import Table

    from afa_bench.estimate import estimate
    from afa_bench.fetch.engine import gigabytes
    from afa_bench.suite import find_suite, read_suite
    from afa_bench.terminal import output
    from afa_bench.words import line

    chosen = read_suite(find_suite(suite))
    found = estimate(chosen, rate)
    table = Table("group", "row", "cells", "images", "evaluations an image", title=line(chosen.description), box=box.SIMPLE)
    for row in found.rows:
        table.add_row(row.group, row.label, str(row.cells), f"{row.images:,}", f"{row.evaluations:,}")
    console = output()
    console.print(table)
    count = "unknown before they are fetched" if found.prompts is None else f"{found.prompts:,}"
    samples = (found.prompts or 0) * chosen.images_per_prompt * chosen.repeats
    console.print(
        f"prompts    {count}; {chosen.images_per_prompt} images each, {chosen.repeats} repeats: {samples:,} samples a cell"
    )
    console.print(
        f"total      {found.cells} cells, {found.images:,} images of {chosen.pixels} px, about {gigabytes(found.disk)} of PNG"
    )
    known = "" if found.known_rate else ", which is SD 1.5's rate: give these models' own with --rate"
    console.print(f"GPU-hours  about {found.gpu_hours:,.1f} to generate, at {found.rate:g} evaluations a second at 512 px{known}")
    console.print("checkers   the pipelines' safety checker is off: it would blacken images and spoil the metrics")
    console.print(f"missing    {len(found.missing) or 'nothing'}")
    for name in found.missing:
        console.print(f"           {name}")
