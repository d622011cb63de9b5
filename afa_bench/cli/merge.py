"""``afa-bench merge``: checkpoints to one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from afa_bench.merging.merge import PreparedMerge


def merge(
    recipe: Annotated[Path, typer.Argument(help="A YAML file: models, method, and the merge method's settings.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .safetensors file (LDM's names), or a new folder (diffusers' layout).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what each block takes from whom; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Merge checkpoints of Stable Diffusion 1.5 or SDXL, tensor by tensor. The recipe is kept in the result's metadata."""
    from rich.console import Console

    from afa_bench.merging.merge import prepare
    from afa_bench.merging.recipe import read_recipe
    from afa_bench.merging.write import destination, write_merge

    console = Console(stderr=True)
    if not dry_run:
        if out is None:
            raise UserError("merge: --out: expected the name of a .safetensors file or of a new folder")
        out = destination(out, force)
    recipe = recipe.expanduser()
    merged = prepare(read_recipe(recipe), recipe.parent)
    for note in merged.notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    if out is None or dry_run:
        Console().print(shares(merged))
        return
    from rich.progress import Progress

    with Progress(console=console) as bar:
        task = bar.add_task("merging", total=len(merged.specs))
        notes = write_merge(merged, out, lambda count: bar.update(task, advance=count), force)
    for note in [*notes, f"{len(merged.specs)} tensors: {out}"]:
        console.print(note, highlight=False, soft_wrap=True, markup=False)


def shares(merged: PreparedMerge) -> Table:
    """What each block takes from whom, a row a block."""
    from collections import Counter

    from rich import box
    from rich.table import Table

    from afa_bench.architectures.layout import BASE, TIME, VAE
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
