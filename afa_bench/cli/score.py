"""``afa-bench score``: numbers for any folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afa_bench.cli.options import folder_to_write, path
from afa_bench.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table


class CaptionSource(StrEnum):
    """What carries captions in place of a file of them."""

    SIDECAR = "sidecar"
    LOG = "log"
    IMAGE = "image"


SHOWN = 20
"""Failed samples that are listed on the terminal; all are in samples.parquet."""


def score(
    images: Annotated[
        Path, typer.Argument(help="Folder of images; those in folders below it count too.", metavar="DIR", parser=path)
    ],
    metrics: Annotated[
        str,
        typer.Option(
            help="clip-t,aes,hpsv2:release=v2.1,fid:features=lite0,./mine.py:Mine. ',' begins a metric, ':' an option where "
            "OPTION= follows; any other ':' is part of the value.",
            metavar="NAME[:OPTION=VALUE...],...",
        ),
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="A caption a line in the order of the images, or a table of file and prompt.", metavar="FILE", parser=path
        ),
    ] = None,
    captions: Annotated[
        CaptionSource | None,
        typer.Option(help="In place of --prompts: NAME.txt beside NAME.png, a web UI's log.csv, or the image's own parameters."),
    ] = None,
    images_per_prompt: Annotated[int, typer.Option(min=1, help="Images of each line of --prompts, in the order of names.")] = 1,
    as_seen: Annotated[
        bool, typer.Option("--as-seen", help="Turned by EXIF, on white, in the profile's colours; not as the official loops do.")
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(help="Real images (those of the same name are pairs), or statistics.", metavar="DIR|NPZ", parser=path),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results; other metrics of the same images add to it. Default: scores/<path of DIR>.",
            metavar="DIR",
            callback=folder_to_write,
        ),
    ] = None,
    preprocess: Annotated[str, typer.Option(help="exact, by PIL; or fast, on the device, within a step of 255.")] = "",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once; halved where the memory asks for it.")] = 32,
    threads: Annotated[int | None, typer.Option(min=1, help="That read and prepare images.", show_default="one a core")] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="rich or json.", metavar="FORMAT")] = "rich",
    strict: Annotated[bool, typer.Option("--strict", help="Stop (2) where a metric's weights are not there.")] = False,
) -> None:
    """Score a folder of images: a table here, samples.parquet and summary.json in --out. Run again to resume.

    Exit: 0 ok, also where weights are not there; 1 some images, or some weights, are damaged; 2 usage.
    """
    import json

    from afa_bench import api
    from afa_bench.cli.exits import FAILED
    from afa_bench.terminal import messages, output, warn, write

    if form not in ("rich", "json"):
        raise UserError(f"--format: unknown format {form!r}: expected rich or json")
    scored = api.score(
        images,
        metrics,
        prompts=prompts,
        reference=reference,
        out=out,
        preprocess=preprocess,
        dtype=dtype,
        device=device,
        batch_size=batch_size,
        threads=threads,
        strict=strict,
        captions=captions.value if captions else None,
        images_per_prompt=images_per_prompt,
        as_seen=as_seen,
        progress=True,
    )
    outcome, record, console = scored.outcome, scored.record, messages()
    if form == "json":
        write(json.dumps(outcome.summary, indent=1, ensure_ascii=False) + "\n")
    else:
        output().print(table(outcome.summary, f"{images}: {outcome.samples} samples"))
    rate = record.images / record.seconds if record.seconds else 0
    console.print(f"{record.images} images decoded, {rate:.1f}/s: {scored.folder}")
    for name, batch in record.batches.items():
        console.print(f"{name}: the memory allowed {batch} images at once")
    for line in outcome.missing:
        warn(f"no value of {line}")
    failed = [error if name in error else f"{name}: {error}" for name, error in outcome.failed.items()]
    lines = [*outcome.damaged, *failed[:SHOWN]]
    for line in lines:
        console.print(f"afa-bench: {line}", style="red")
    if len(outcome.failed) > SHOWN:
        console.print(f"... and {len(outcome.failed) - SHOWN} more: see the column error of {scored.folder / 'samples.parquet'}")
    if lines:
        raise typer.Exit(FAILED)


def table(summary: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """A summary as a table: a row a metric."""
    from rich import box
    from rich.table import Table

    from afa_bench.tables.model import ARROWS
    from afa_bench.tables.text import MISSING, number, spread

    shown = Table("metric", "value", "95%", "images", "weights", "note", title=title, title_justify="left", box=box.SIMPLE)
    for entry in sorted(summary.values(), key=lambda entry: entry["order"]):
        value, digits = entry["value"], entry["digits"]
        shown.add_row(
            f"{entry['title']} {ARROWS[entry['direction']]}",
            MISSING if value is None else number(value, digits),
            "" if value is None else spread(value, entry["low"], entry["high"], digits),
            str(entry["n"]),
            ", ".join(digest[:12] for digest in entry["weights"].values()),
            remarks(entry),
        )
    return shown


def remarks(entry: Mapping[str, Any]) -> str:
    """Why a metric has no value, or what it lacks; else what its note says."""
    reason = entry.get("reason")
    if not reason:
        return entry["note"] or ""
    return f"no value: {reason}" if entry["value"] is None else reason if not entry["note"] else f"{reason}; {entry['note']}"
