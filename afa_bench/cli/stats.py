"""``afa-bench stats``: reference statistics, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def stats(
    images: Annotated[Path, typer.Argument(help="Folder of real images; those in folders below it count too.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz file to write.", metavar="FILE")],
    features: Annotated[str, typer.Option(help="Extractor of the features: inception, lite0.")] = "inception",
    resize: Annotated[str, typer.Option(help="Inception's: clean, torch-fidelity or pytorch-fid.")] = "clean",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
) -> None:
    """Compute the statistics that FID compares with, and write them with their provenance. Images are read as they are seen.

    The file has the arrays mu and sigma of pytorch-fid's and clean-fid's files, which are read as well.
    """
    from rich.console import Console
    from rich.progress import Progress

    from afa_bench.cli.options import best_device
    from afa_bench.errors import UserError
    from afa_bench.images.find import SUFFIXES, find_images
    from afa_bench.log import LOG
    from afa_bench.metrics.frechet import FrechetDistance
    from afa_bench.metrics.reference import compute, write_statistics
    from afa_bench.reading import validated

    extractor = validated(FrechetDistance, {"features": features, "resize": resize}, "stats").extractor()
    found = find_images(images)
    if len(found.files) < 2:
        raise UserError(f"{images}: expected two images at least ({', '.join(SUFFIXES)}), found {len(found.files)}")
    device = device or best_device()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in found.notes:
        LOG.warning("%s", note)
    with Progress(console=console) as bar:
        task = bar.add_task("features", total=len(found.files))
        statistics = compute(found.paths, extractor, device, batch_size, lambda count: bar.update(task, advance=count))
    write_statistics(out, statistics)
    console.print(f"{len(found.files)} images: {out}", markup=False)
