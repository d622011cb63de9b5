"""``afa-bench bench afa``: time and memory of AFA by the number of models, with random weights of the true architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from afa_bench.bench.ensembles import Measured

Architecture = Literal["sd15", "mini"]


def afa(
    models: Annotated[str, typer.Option(help="Numbers of models.")] = "2,3,6",
    architecture: Annotated[Architecture, typer.Option(help="Stable Diffusion 1.5's U-Net, or the miniature zoo's.")] = "sd15",
    size: Annotated[int, typer.Option(min=8, help="Height and width of the images in pixels.")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Images of a training step. Sampling: one, with guidance.")] = 1,
    dtype: Annotated[str, typer.Option(help="Of the frozen models: float32, float16, bfloat16.")] = "float32",
    repeats: Annotated[int, typer.Option(min=1, help="Steps that are timed; the median counts.")] = 5,
    device: Annotated[str, typer.Option(help="cpu, cuda; by default the best there is.")] = "",
    count: Annotated[
        bool, typer.Option("--count", help="Only count the bytes of the tensors, computing nothing: no GPU, no time, no memory.")
    ] = False,
) -> None:
    """Measure a training step, with and without gradient checkpointing, and a sampling step of AFA, by the number of models."""
    from rich.console import Console
    from rich.progress import track

    from afa_bench.bench.ensembles import measure
    from afa_bench.cli.options import best_device, numbers

    counts, chosen = numbers(models, "--models"), device or best_device()
    errors = Console(stderr=True)
    found = [
        measure(architecture, number, size, batch, dtype, repeats, chosen, count)
        for number in track(counts, "measuring", console=errors)
    ]
    Console().print(_table(found, f"{architecture}, {size} px, batch {batch}, {dtype}, {'counted' if count else chosen}"))


def _table(found: list[Measured], title: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.MARKDOWN)
    for column in ("models", "learned", "training", "peak", "checkpointed", "peak", "sampling", "peak"):
        table.add_column(column, no_wrap=True)
    for one in found:
        costs = [text for cost in (one.training, one.checkpointed, one.sampling) for text in (cost.time, cost.memory)]
        table.add_row(str(one.models), f"{one.learned / 1e6:.2f}M", *costs)
    return table
