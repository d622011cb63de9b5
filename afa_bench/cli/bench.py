"""``afa-bench bench``: speed and memory. A subcommand is a function in a file of its own in ``afa_bench/bench/``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.bench import afa
from afa_bench.bench.merge import merge

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
    out: Annotated[Path | None, typer.Option(help="JSON file to write, for `afa-bench table FILE --paper 6` and 9.")] = None,
) -> None:
    """Measure what methods cost: parameters, operations, seconds and memory, beside one base model in the same run."""
    from afa_bench.bench.report import run_methods
    from afa_bench.cli.options import names as split
    from afa_bench.cli.options import numbers

    counts = (numbers(models, "--models"), numbers(images, "--images"), numbers(steps, "--steps"))
    typer.echo(run_methods(architecture, split(names), *counts, rounds=rounds, device=device, dtype=dtype, out=out), nl=False)


@app.command("metrics")
def metrics(
    official: Annotated[Path, typer.Option(help="Interpreter of an environment with the official packages.", metavar="PYTHON")],
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

    from rich.console import Console

    from afa_bench.bench.metrics import run_metrics
    from afa_bench.errors import UserError
    from afa_bench.extractors.base import Dtype, Preprocess
    from afa_bench.official.runner import CLIP_SIZES
    from afa_bench.registry import suggest

    settings = {"preprocess": preprocess, "dtype": dtype}
    choices = {"preprocess": get_args(Preprocess), "dtype": get_args(Dtype), "size": CLIP_SIZES, "device": ("cpu", "cuda")}
    for option, value in {**settings, "size": size, "device": device}.items():
        if value not in choices[option]:
            raise UserError(f"--{option}: unknown {option} {value!r}: {suggest(value, choices[option])}")
    Console().print(run_metrics(official, size, images, rounds, device, threads, settings))


app.command("afa")(afa.afa)


app.command("merge")(merge)
