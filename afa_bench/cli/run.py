"""``afa-bench run``: generate, score, tabulate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.cli.options import FAILED, best_device, fraction, names, numbers

if TYPE_CHECKING:
    from rich.console import Console


class Engines(StrEnum):
    """Where shards are done."""

    INLINE = "inline"
    RAY = "ray"


def run(
    suite: Annotated[str, typer.Argument(help="A suite's YAML file, or the name of a packaged suite such as mini.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N prompts; filed apart from the whole suite.")] = None,
    only: Annotated[str, typer.Option(help="Only these methods or rows: afa,weighted.")] = "",
    steps: Annotated[str, typer.Option(help="These numbers of sampling steps in place of the suite's: 10,20,50.")] = "",
    group: Annotated[str, typer.Option(help="These groups in place of the suite's: mini-1,mini-2.")] = "",
    size: Annotated[int | None, typer.Option(min=8, help="Image size in place of the suite's; filed apart.")] = None,
    out: Annotated[
        str,
        typer.Option(help="Folder of all results, or its URL (s3://bucket/results); this suite's are below, by name."),
    ] = "results",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")] = "",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples at once; by default by image size.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop (2) where a metric's weights are not there.")] = False,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only the I-th of N parts: for job arrays. The last scores.")] = "1/1",
    engine: Annotated[Engines, typer.Option(help="Generate in this process, or on a Ray cluster (extra ray).")] = Engines.INLINE,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray: number of workers; by default one a GPU, or one a CPU.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray: of a running cluster, such as auto; by default this machine.")] = None,
) -> None:
    """Generate what is missing, score it and print the table. Run again to resume; nothing is done twice.

    Several processes may work in one results folder at the same time: each takes what no other is at.
    """
    from rich.console import Console

    from afa_bench.cli.table import print_table
    from afa_bench.generation.inline import run_shards
    from afa_bench.generation.ray import RayEngine
    from afa_bench.plan import make_plan
    from afa_bench.run import run_plan
    from afa_bench.store.place import place
    from afa_bench.suite import find_suite, read_suite
    from afa_bench.tables import build_table, load_results
    from afa_bench.workspace import Share

    plan = make_plan(
        read_suite(find_suite(suite)),
        limit=limit,
        only=names(only),
        steps=numbers(steps, "--steps"),
        groups=names(group),
        size=size,
    )
    console = Console(stderr=True)
    root = place(out)
    folder = root / plan.name
    batch = batch_size or _batch_size(plan.suite.size)
    outcome = run_plan(
        plan,
        root,
        device or best_device(),
        batch,
        Bars(console),
        strict,
        share=Share(*fraction(shard, "--shard")),
        engine=RayEngine(workers, address) if engine is Engines.RAY else run_shards,
    )
    rate = f" ({outcome.generated / outcome.generate_seconds:.1f}/s)" if outcome.generated else ""
    console.print(
        f"{outcome.generated} samples made in {outcome.generate_seconds:.0f} s{rate}, {outcome.reused} found done, "
        f"scored in {outcome.score_seconds:.0f} s: {folder}",
        highlight=False,
        soft_wrap=True,
    )
    if outcome.left:
        console.print(f"{outcome.left} samples of other shares are still to be made; whoever comes last scores", highlight=False)
        return
    print_table(build_table(load_results(folder, [cell.name for cell in plan.cells])))
    for line in outcome.missing:
        console.print(f"warning: no value of {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if outcome.failed:
        console.print(f"{outcome.failed} samples failed: see the column error of samples.parquet below {folder}")
        raise typer.Exit(FAILED)


class Bars:
    """Progress on the terminal: one bar a stage, with the time left and the cell under way."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[None]:
        """A part of the run with so many steps."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        times = (TimeElapsedColumn(), TimeRemainingColumn())
        columns = (TextColumn(f"{title:8}"), BarColumn(), MofNCompleteColumn(), *times, TextColumn("{task.description}"))
        with Progress(*columns, console=self.console) as self.bars:
            self.task = self.bars.add_task("loading", total=total)
            yield

    def begin(self, total: int) -> None:
        """The current stage begins anew, with so many steps."""
        self.bars.reset(self.task, total=total)

    def advance(self, label: str, steps: int) -> None:
        """Steps of the current stage are done."""
        self.bars.update(self.task, advance=steps, description=label)


def _batch_size(size: int) -> int:
    """Samples at once: as many pixels as 8 images of 512 px, at most 32."""
    return max(1, min(32, 8 * 512**2 // size**2))
