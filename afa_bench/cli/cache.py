"""``afa-bench cache``: what trainings have encoded, shown and cleared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.cli.options import path


def cache(
    folder: Annotated[
        Path, typer.Argument(help="A cache, a training's folder, or a folder of trainings.", metavar="DIR", parser=path)
    ] = Path("trainings"),
    clear: Annotated[bool, typer.Option("--clear", help="Remove what is encoded; a training encodes it again.")] = False,
) -> None:
    """Show how many images and captions trainings have encoded and how much disk they take; with --clear remove them."""
    from afa_bench.cli.status import size
    from afa_bench.terminal import output
    from afa_bench.training import items

    for found in map(items.held, items.find_caches(folder)):
        earlier = f", {found.earlier} files of an earlier version, which are not read any more" if found.earlier else ""
        if clear:
            items.clear(found.folder)
        ending = ": removed" if clear else ""
        output().print(f"{found.folder}: {found.images} images, {found.texts} captions{earlier}, {size(found.size)}{ending}")
