"""``afa-bench search``: the block weights of a merge, by the score of a few images (autoMBW)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afa_bench.cli.options import folder_to_write
from afa_bench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from afa_bench.reading import Choice
    from afa_bench.search.auto_mbw import Budget, Found


class Kind(StrEnum):
    simplex = "simplex"
    chain = "chain"


def search(
    suite: Annotated[str, typer.Argument(help="A suite's YAML file, or the name of a packaged suite such as mini.")],
    scorer: Annotated[
        str,
        typer.Option(help="A metric of one image: aes, or {name: clip-t, features: mini-clip}.", show_default=False),
    ],
    group: Annotated[str, typer.Option(help="Whose models are merged; the suite's first group by default.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="By default results/search/SUITE-GROUP.", metavar="DIR", callback=folder_to_write)
    ] = None,
    method: Annotated[str, typer.Option(help="A merge method; of another than mbw a number is searched by block.")] = "mbw",
    setting: Annotated[str, typer.Option(help="Which number; by default the method's first, such as alpha.")] = "",
    models: Annotated[str, typer.Option(help="In the method's order: a,b,c; by default all of the group's, in its order.")] = "",
    space: Annotated[
        Kind, typer.Option(help="Of mbw: points of the simplex of all models, or a chain of two-model merges in steps of 0.1.")
    ] = Kind.simplex,
    form: Annotated[Kind | None, typer.Option(hidden=True)] = None,
    together: Annotated[int, typer.Option(help="Blocks that have one weight: 2, or 1 for each on its own.", min=1)] = 2,
    base: Annotated[bool, typer.Option("--base", help="Search the text encoder's weights too.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Of sampling; the suite's smallest number by default.")] = None,
    images: Annotated[str, typer.Option(help="How many images a candidate is looked at with.")] = "2,4,8",
    sweeps: Annotated[int, typer.Option(min=1, help="Over all blocks, at most.")] = 3,
    merges: Annotated[int | None, typer.Option(min=1, help="Budget.", show_default="none")] = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Budget.", show_default="none")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Budget.", show_default="none")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")] = "",
) -> None:
    """Search block weights with autoMBW. Run again to go on; a larger budget and more sweeps continue, too."""
    from rich.progress import TimeElapsedColumn

    from afa_bench.api import names
    from afa_bench.cli.options import numbers
    from afa_bench.devices import chosen_device
    from afa_bench.log import deprecated
    from afa_bench.search.auto_mbw import Budget, Rules
    from afa_bench.search.job import make_job, run_job
    from afa_bench.suite import find_suite, read_suite
    from afa_bench.terminal import column, messages, progress, warn

    if form is not None:
        deprecated("--form", "--space")
        space = form
    counts = numbers(images, "--images")
    if counts != sorted(counts) or not counts:
        raise UserError(f"--images: expected rising numbers such as 2,4,8, found {images!r}")
    budget = Budget(merges, max_images, seconds)
    job = make_job(
        read_suite(find_suite(suite)),
        _choice(scorer),
        group,
        steps=steps,
        method=method,
        setting=setting or None,
        models=names(models),
        kind=space.value,
        together=together,
        base=base,
        rules=Rules(tuple(counts), sweeps=sweeps),
        budget=budget,
    )
    folder = out or Path("results") / "search" / f"{job.suite.name}-{job.group.name}"
    console = messages()
    for warning in job.warnings:
        warn(warning)
    with progress(column("{task.description}"), TimeElapsedColumn()) as bar:
        task = bar.add_task("loading", total=None)
        found = run_job(job, folder, chosen_device(device), lambda line: bar.update(task, description=_line(line)))
    console.print(_spent(found, budget))
    console.print(f"{job.scorer.title}: {found.first.mean:.4f} at the start, {found.best.mean:.4f} at the end")
    console.print(f"{folder / 'recipe.yaml'}, blocks.png, log.jsonl")


def _choice(text: str) -> Choice:
    """A metric's name, or a mapping with its options."""
    from collections.abc import Mapping

    import yaml

    from afa_bench.reading import Choice, DuplicateKey, read_yaml, validated

    try:
        document = read_yaml(text)
        if isinstance(document, str | Mapping):
            return validated(Choice, {"name": document} if isinstance(document, str) else document, "--scorer")
    except DuplicateKey as error:
        raise UserError(f"--scorer: {error.problem}") from error
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError):
        pass
    raise UserError(f"--scorer: expected a metric's name or {{name: ..., its options}}, found {text!r}")


def _line(line: Mapping[str, Any]) -> str:
    place = f"sweep {line['sweep']} {line['group']}" if "group" in line else line["stage"]
    return f"{place}: {line['verdict']}; best {line['best'] or 0:.4f}; {line['merges']} merges, {line['images']} images"


def _spent(found: Found, budget: Budget) -> str:
    def of(spent: float, limit: float | None, noun: str) -> str:
        if limit is not None and spent > limit:  # of a log whose search had a larger budget
            return f"{spent:g} {noun} (more than the budget of {limit:g})"
        return f"{spent:g}" + (f" of {limit:g}" if limit is not None else "") + f" {noun}"

    spent = found.spent
    return (
        f"{of(spent.merges, budget.merges, 'merges')}, {of(spent.images, budget.images, 'images')}, "
        f"{of(round(spent.seconds), budget.seconds, 'seconds')}; ended by {found.reason}"
    )
