"""``afa-bench merge``: checkpoints to one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.cli.options import path
from afa_bench.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from afa_bench.merging.stream import Job


def merge(
    recipe: Annotated[Path, typer.Argument(help="A YAML file: models, form, and the form's settings.", parser=path)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .safetensors file (LDM's names), or a new folder (diffusers' layout).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what each block takes from whom; write nothing.")] = False,
) -> None:
    """Merge checkpoints of Stable Diffusion 1.5 or SDXL, tensor by tensor. The recipe is kept in the result's metadata."""
    from afa_bench import api
    from afa_bench.merging.recipe import read_recipe
    from afa_bench.merging.stream import open_recipe
    from afa_bench.terminal import messages, output

    job = open_recipe(read_recipe(recipe), recipe.parent)
    if dry_run:
        output().print(shares(job))
        return
    if out is None:
        raise UserError("merge: --out: expected the name of a .safetensors file or of a new folder")
    merged = api.merge(job, out, progress=True)
    messages().print(f"{merged.tensors} tensors: {merged.path}")


def shares(job: Job) -> Table:
    """What each block takes from whom, a row a block."""
    from collections import Counter

    from rich import box
    from rich.table import Table

    from afa_bench.architectures.layout import BASE, TIME, VAE
    from afa_bench.merging.recipe import described

    table = Table("block", "tensors", "takes", title=f"{job.first.layout.name}: {job.recipe.form}", box=box.SIMPLE)
    counts = Counter(link.block for link in job.links.values())
    settings = job.recipe.by_block(job.first.layout)
    for block in (BASE, TIME, *job.first.layout.blocks):
        if counts[block]:
            table.add_row(block, str(counts[block]), described(job.recipe, settings[block]))
    autoencoder = sum(key.startswith(VAE) for key in job.specs)
    others = len(job.specs) - len(job.links) - autoencoder
    names = job.recipe.names
    for what, count, name in (("VAE", autoencoder, job.recipe.vae or names[0]), ("not merged", others, names[0])):
        if count:
            table.add_row(what, str(count), f"copied from {name}")
    return table
