"""``afa-bench bench``: speed and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from afa_bench.cli.options import file_to_write, path

app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure speed and memory on this machine."""


@app.command("methods")
def methods(
    architecture: Annotated[
        str, typer.Argument(help="sd15, a packaged group such as mini-1, or a group's YAML file.")
    ] = "mini-1",
    names: Annotated[str, typer.Option("--methods", help="Methods beside the base model.", metavar="NAME,...")] = (
        "weighted,noise-average,block-average,magicfusion,afa"
    ),
    models: Annotated[str, typer.Option(help="Numbers of base models.", metavar="N,...")] = "2,3",
    images: Annotated[str, typer.Option(help="Numbers of images at once.", metavar="N,...")] = "1",
    steps: Annotated[str, typer.Option(help="Numbers of steps.", metavar="N,...")] = "50,20",
    rounds: Annotated[int, typer.Option(help="Generations of each row, in turn; 0 counts parameters and operations alone.")] = 5,
    device: Annotated[str, typer.Option(help="A torch device.", show_default="cuda if there is one")] = "",
    dtype: Annotated[
        str, typer.Option(help="float32, float16 or bfloat16.", show_default="float16 on cuda, float32 on cpu")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON to write, for `afa-bench table FILE --paper 6` and 9.",
            metavar="FILE",
            callback=file_to_write(".json"),
        ),
    ] = None,
) -> None:
    """Measure what methods cost: parameters, operations, seconds and memory, beside one base model in the same run."""
    from afa_bench import api
    from afa_bench.bench.report import run_methods
    from afa_bench.cli.options import numbers
    from afa_bench.devices import chosen_device

    device = device and chosen_device(device)
    counts = (numbers(models, "--models"), numbers(images, "--images"), numbers(steps, "--steps"))
    typer.echo(run_methods(architecture, api.names(names), *counts, rounds=rounds, device=device, dtype=dtype, out=out), nl=False)


@app.command("metrics")
def metrics(
    official: Annotated[
        Path, typer.Option(help="Python of an environment with the official packages.", metavar="PYTHON", parser=path)
    ],
    size: Annotated[str, typer.Option(help="small or true; ImageReward and Inception have one size.")] = "small",
    images: Annotated[int, typer.Option(min=1, help="How many, of 512 px.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Of either side in turn; the medians are shown.")] = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda, for either side.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Of torch, on either side.")] = 2,
    preprocess: Annotated[str, typer.Option(help="Ours: exact or fast.")] = "exact",
    dtype: Annotated[str, typer.Option(help="Ours: float32 or bfloat16.")] = "float32",
) -> None:
    """Measure the metrics beside the official packages, on the same random weights.

    tests/oracle/environment.py builds an environment with these packages.
    """
    from typing import get_args

    from afa_bench.bench.metrics import run_metrics
    from afa_bench.errors import UserError, suggest
    from afa_bench.extractors.base import Dtype, Preprocess
    from afa_bench.official.runner import CLIP_SIZES
    from afa_bench.terminal import output

    settings = {"preprocess": preprocess, "dtype": dtype}
    choices = {"preprocess": get_args(Preprocess), "dtype": get_args(Dtype), "size": CLIP_SIZES, "device": ("cpu", "cuda")}
    for option, value in {**settings, "size": size, "device": device}.items():
        if value not in choices[option]:
            raise UserError(f"--{option}: unknown {option} {value!r}: {suggest(value, choices[option])}")
    output().print(run_metrics(official, size, images, rounds, device, threads, settings))


@app.command("afa")
def afa(
    models: Annotated[str, typer.Option(help="Numbers of models.", metavar="N,...")] = "2,3,6",
    architecture: Annotated[
        Literal["sd15", "mini"], typer.Option(help="Stable Diffusion 1.5's U-Net, or the miniature zoo's.")
    ] = "sd15",
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
    from afa_bench.bench.afa import run_afa
    from afa_bench.cli.options import numbers
    from afa_bench.devices import chosen_device
    from afa_bench.terminal import output

    counts, chosen = numbers(models, "--models"), chosen_device(device)
    settings: Any = {"size": size, "batch": batch, "dtype": dtype, "repeats": repeats, "device": chosen, "count": count}
    output().print(run_afa(counts, architecture, **settings))


@app.command("merge")
def merge(
    folder: Annotated[
        Path | None,
        typer.Option(help="Where 6.5 GB are free; by default the system's temporary folder.", metavar="DIR", parser=path),
    ] = None,
    part: Annotated[float, typer.Option(help="Of the tensors' rows, for a trial: 0.1.", min=0.001, max=1.0)] = 1.0,
) -> None:
    """Merge two checkpoints of Stable Diffusion 1.5's names and shapes: seconds, and memory above the interpreter's."""
    import tempfile

    from afa_bench.bench.merge import measure, table
    from afa_bench.terminal import output

    with tempfile.TemporaryDirectory(dir=folder) as work:
        output().print(table(measure(Path(work), part)))


@app.command("tables")
def tables(
    results: Annotated[Path, typer.Argument(help="A folder such as results/mini.", parser=path)],
    rounds: Annotated[int, typer.Option(min=1, help="Of all commands in turn; the medians are shown.")] = 5,
) -> None:
    """Measure how long --help, table, compare and gate take on a folder of results, beside reading its samples."""
    from afa_bench.bench.tables import run_tables
    from afa_bench.terminal import output

    output().print(run_tables(results, rounds))
