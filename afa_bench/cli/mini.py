"""``afa-bench mini``: the miniature zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.api import names
from afa_bench.cli.options import file_to_write, folder_to_write, path

app = typer.Typer(help="The miniature zoo: build it again, look at it.", no_args_is_help=True)


@app.command("build")
def build(
    out: Annotated[
        Path,
        typer.Option(help="The folder of the zoo; a build that was stopped goes on.", metavar="DIR", callback=folder_to_write),
    ],
    only: Annotated[str, typer.Option(help="Only these stages.", metavar="STAGE,...", show_default="all")] = "",
    scale: Annotated[float, typer.Option(help="Multiplies all numbers of steps and pairs; 0.01 for a trial.", min=0.0)] = 1.0,
    jobs: Annotated[int, typer.Option(help="Processes at a time.", min=1)] = 2,
) -> None:
    """Draw the data and train every part of the zoo (about 85 minutes on 2 cores; needs the extra "zoo")."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeElapsedColumn

    from afa_bench.mini.recipe import build as recipe_build
    from afa_bench.mini.recipe.settings import ZooRecipe, scaled
    from afa_bench.terminal import column, output, progress

    chosen = ZooRecipe() if scale == 1 else scaled(ZooRecipe(), scale)
    columns = (
        column("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        column("{task.fields[loss]}"),
        TimeElapsedColumn(),
    )
    with progress(*columns) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, loss="")
            bars.update(tasks[stage], completed=done, loss=f"{loss:.4f}")

        recipe_build.build(out, chosen, names(only), jobs, show)
    output().print(f"{out}: the zoo is complete" if (out / "zoo.json").exists() else f"{out}: stages done")


@app.command("show")
def show(
    zoo: Annotated[Path | None, typer.Option(help="A folder that `build` made.", metavar="DIR", parser=path)] = None,
) -> None:
    """Print what the zoo's parts are and how good: parameters, seconds of training, losses on held-out pairs."""
    from afa_bench.mini.recipe.facts import report

    typer.echo(report(zoo))


@app.command("sheet")
def sheet(
    out: Annotated[Path, typer.Option(help="The PNG file.", metavar="FILE", callback=file_to_write(".png"))],
    zoo: Annotated[Path | None, typer.Option(help="A folder that `build` made.", metavar="DIR", parser=path)] = None,
    singles: Annotated[int, typer.Option(help="Prompts with one object.", min=0)] = 24,
    scenes: Annotated[int, typer.Option(help="Prompts with two.", min=0)] = 16,
) -> None:
    """Draw samples of held-out prompts: the real images, the base, AFA of both groups."""
    from afa_bench.mini.recipe import sheet as sheets
    from afa_bench.mini.recipe.zoo import Zoo

    sheets.save(sheets.samples(Zoo(zoo), singles, scenes), out)


@app.command("maps")
def maps(
    out: Annotated[Path, typer.Option(help="The PNG file.", metavar="FILE", callback=file_to_write(".png"))],
    zoo: Annotated[Path | None, typer.Option(help="A folder that `build` made.", metavar="DIR", parser=path)] = None,
    count: Annotated[int, typer.Option(help="Scenes of each group.", min=1)] = 8,
) -> None:
    """Draw where each model of a group has weight in held-out two-object scenes."""
    from afa_bench.mini.recipe import sheet as sheets
    from afa_bench.mini.recipe.zoo import Zoo

    sheets.save(sheets.both_maps(Zoo(zoo), count), out)


@app.command("routes")
def routes(
    out: Annotated[
        Path,
        typer.Option(
            help="The PNG file; the numbers are beside it, in a .json file.", metavar="FILE", callback=file_to_write(".png")
        ),
    ],
    zoo: Annotated[Path | None, typer.Option(help="A folder that `build` made.", metavar="DIR", parser=path)] = None,
    count: Annotated[int, typer.Option(help="Held-out prompts.", min=4)] = 16,
) -> None:
    """Draw whom the routers of the mixtures of experts choose, by block and timestep."""
    from afa_bench.mini.recipe import sheet as sheets
    from afa_bench.mini.recipe.zoo import Zoo
    from afa_bench.store.atomic import write_json
    from afa_bench.terminal import output

    image, facts = sheets.routes(Zoo(zoo), count)
    sheets.save(image, out)
    write_json(out.with_suffix(".json"), facts)
    for name, found in facts.items():
        output().print(
            f"{name}: {len(found['collapsed'])} of {found['routers']} routers give one expert 95% of all rows or more; "
            f"{found['calls_a_step']:.1f} expert calls a step; the halves of guidance disagree in {found['halves_disagree']:.0%}"
        )
