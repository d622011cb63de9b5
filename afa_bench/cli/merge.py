"""``afa-bench merge``: checkpoints to one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.cli.options import path
from afa_bench.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from afa_bench.merging.merge import PreparedMerge


def merge(
    recipe: Annotated[Path, typer.Argument(help="A YAML file: models, method, and the merge method's settings.", parser=path)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A .safetensors file (LDM's names), or a new folder (diffusers' layout).", parser=path),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what each block takes from whom; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Merge checkpoints of Stable Diffusion 1.5 or SDXL, tensor by tensor. The recipe is kept in the result's metadata."""
    from afa_bench import api
    from afa_bench.merging.merge import prepare
    from afa_bench.merging.recipe import read_recipe
    from afa_bench.merging.write import destination
    from afa_bench.terminal import messages, output

    if not dry_run:
        if out is None:
            raise UserError("merge: --out: expected the name of a .safetensors file or of a new folder")
        out = destination(out, force)
    merged = prepare(read_recipe(recipe), recipe.parent)
    if out is None or dry_run:
        output().print(shares(merged))
        return
    written = api.merge(merged, out, force=force, progress=True)
    messages().print(f"{written.tensors} tensors: {written.path}")


def shares(merged: PreparedMerge) -> Table:
    """What each block takes from whom, a row a block."""
    from collections import Counter

    from rich import box
    from rich.table import Table

    from afa_bench.architectures.layout import BASE, TIME
    from afa_bench.architectures.ldm import VAE
    from afa_bench.merging.place import Place
    from afa_bench.merging.recipe import described

    layout = merged.layout
    table = Table("block", "tensors", "takes", title=f"{layout.name}: {merged.recipe.method.name}", box=box.SIMPLE)
    counts = Counter(link.block for link in merged.links.values())
    for block in (BASE, TIME, *layout.blocks):
        if counts[block]:
            table.add_row(block, str(counts[block]), described(merged.recipe, Place("", block, layout)))
    names = {id(source): name for name, source in zip(merged.recipe.names, merged.sources, strict=True)}
    copied = Counter(("VAE" if key.startswith(VAE) else "not merged", names[id(s)]) for key, s in merged.origins.items())
    for (what, name), count in sorted(copied.items()):
        table.add_row(what, str(count), f"copied from {name}")
    return table
