"""``afa-bench import-sabw``: aggregators in the layout of the paper's reference release, as a SABW."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.cli.options import folder_to_write, path


def import_sabw(
    folder: Annotated[
        Path, typer.Argument(help="Folder with aggregator_0/aggregator.safetensors, aggregator_1/..., and so on.", parser=path)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to write; it must not exist yet.", metavar="DIR", callback=folder_to_write)
    ],
    experts: Annotated[
        str,
        typer.Option(
            help="The models which it was trained for, in their order: folders or files, whose sha256 is kept, or mere names.",
            metavar="MODEL,...",
        ),
    ] = "",
) -> None:
    """Write SABW's folder from aggregators in the reference release's layout."""
    from afa_bench.afa.experts import Expert
    from afa_bench.afa.importer import import_release
    from afa_bench.api import names
    from afa_bench.errors import UserError
    from afa_bench.models.learned import save_learned
    from afa_bench.terminal import output

    if out.exists():
        raise UserError(f"--out: {out}: expected a folder that does not exist yet")
    models = [Expert.of(path(name)) if path(name).exists() else Expert(name) for name in names(experts)]
    sabw = import_release(folder, [model.entry() for model in models] or None)
    if models and len(models) != sabw.config.n_models:
        raise UserError(f"--experts: found {len(models)}; expected {sabw.config.n_models}, as many as the aggregators weigh")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_learned(sabw, out)
    count = sum(parameter.numel() for parameter in sabw.parameters())
    output().print(f"{out}: {sabw.config.n_models} models, {len(sabw.blocks)} blocks, {count:,} parameters")
