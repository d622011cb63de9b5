"""``afa-bench stats``: reference statistics, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.cli.options import file_to_write, path


def stats(
    images: Annotated[
        Path, typer.Argument(help="Folder of real images; those in folders below it count too.", metavar="DIR", parser=path)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The .npz file to write.", metavar="FILE", callback=file_to_write(".npz"))
    ],
    features: Annotated[str, typer.Option(help="Extractor of the features: inception, lite0, ./mine.py:Mine.")] = "inception",
    resize: Annotated[str, typer.Option(help="Inception's: clean, torch-fidelity or pytorch-fid.")] = "clean",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
) -> None:
    """Compute the statistics that FID compares with, and write them with their provenance. Images are read as they are seen.

    The file has the arrays mu and sigma of pytorch-fid's and clean-fid's files, which are read as well.
    """
    from functools import partial

    from afa_bench.devices import chosen_device
    from afa_bench.errors import UserError
    from afa_bench.extractors.base import POOL
    from afa_bench.images.find import find_images
    from afa_bench.images.names import SUFFIXES
    from afa_bench.log import LOG
    from afa_bench.metrics.frechet import FrechetDistance
    from afa_bench.metrics.read import check_features
    from afa_bench.metrics.reference import compute, write_statistics
    from afa_bench.reading import validated
    from afa_bench.terminal import Bars, messages

    extractor = validated(FrechetDistance, {"features": features, "resize": resize}, "stats").extractor()
    check_features(extractor, POOL, "stats")
    chosen = chosen_device(device)
    found = find_images(images)
    if len(found.files) < 2:
        raise UserError(f"{images}: expected two images at least ({', '.join(SUFFIXES)}), found {len(found.files)}")
    for note in found.notes:
        LOG.warning("%s", note)
    bars = Bars()
    with bars.stage("features", len(found.files)):
        statistics = compute(found.paths, extractor, chosen, batch_size, partial(bars.advance, ""))
    write_statistics(out, statistics)
    messages().print(f"{len(found.files)} images: {out}")
