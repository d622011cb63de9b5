"""``afa-bench fetch``: everything that a suite needs from elsewhere, once; afterwards a run makes no connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.cli.exits import USAGE
from afa_bench.cli.options import path

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from afa_bench.fetch.engine import Job
    from afa_bench.fetch.sources import Source


def fetch(
    what: Annotated[list[str], typer.Argument(help="Suites or groups (names or files), or metrics: the weights of all metrics.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files with their sizes; fetch nothing.")] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Take the files from this folder, fetched by other means; connect to nothing.", parser=path),
    ] = None,
    lock: Annotated[
        Path | None, typer.Option(help="Another's lock file, to whose revisions and sha256 all is held.", parser=path)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=32, help="Downloads side by side.")] = 4,
) -> None:
    """Fetch what suites need: prompts, reference images, checkpoints, metric weights. Run again to resume.

    Files go to $AFA_BENCH_DATA (else afa-bench in your cache folder) and their sha256 into lock.json there. Tokens are read from
    $HF_TOKEN and $CIVITAI_TOKEN; $HF_ENDPOINT and $CIVITAI_ENDPOINT name mirrors.
    """
    from afa_bench.fetch.engine import Fetcher
    from afa_bench.fetch.library import Library
    from afa_bench.needs import needs_of
    from afa_bench.terminal import messages, output

    console = messages()
    fetcher = Fetcher(Library(pins=lock), workers=workers)
    jobs = fetcher.survey([need for name in what for need in needs_of(name)], source)
    output().print(listing(jobs, fetcher.library.folder))
    if dry_run:
        failures = fetcher.problems(jobs, source)
    elif source is not None:
        failures = fetcher.adopt(jobs, source)
    else:
        with _bars(jobs) as bars:
            failures = fetcher.run(jobs, bars)
    for failure in failures:
        console.print(f"afa-bench: {failure}", style="red")
    if failures:
        raise typer.Exit(USAGE)
    if not dry_run:
        console.print(f"{len(jobs)} files, all there: {fetcher.library.folder}")


def listing(jobs: Sequence[Job], folder: Path) -> Table:
    """The files, their sizes and whether they are there, and what is left to fetch."""
    from rich import box
    from rich.table import Table

    from afa_bench.fetch.engine import free_bytes, gigabytes

    missing = [job for job in jobs if not job.have]
    unknown = sum(job.size is None for job in missing)
    left = gigabytes(sum(job.size or 0 for job in missing)) + (f" and {unknown} of unknown size" if unknown else "")
    title = f"{len(jobs)} files, {len(missing)} to fetch: {left}; {gigabytes(free_bytes(folder))} free in {folder}"
    table = Table("file", "size", "state", title=title, title_justify="left", box=box.SIMPLE)
    for job in jobs:
        table.add_row(job.source.id, gigabytes(job.size), "there" if job.have else job.problem or "to fetch")
    return table


@contextmanager
def _bars(jobs: Sequence[Job]) -> Iterator[_Bars]:
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    from afa_bench.terminal import column, progress

    columns = (
        column("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with progress(*columns) as bars:
        yield _Bars(bars, jobs)


class _Bars:
    """A bar for everything and one for each file under way."""

    def __init__(self, progress: Progress, jobs: Sequence[Job]) -> None:
        self.progress = progress
        missing = [job for job in jobs if not job.have and not job.problem]
        self.all = progress.add_task("all", total=sum(job.size or 0 for job in missing) or None)
        self.tasks = {
            job.source.id: progress.add_task(job.source.path.name[-40:], total=job.size, visible=False) for job in missing
        }

    def advance(self, source: Source, count: int) -> None:
        """So many bytes of a source have come."""
        self.progress.update(self.tasks[source.id], advance=count, visible=True)
        self.progress.update(self.all, advance=count)

    def done(self, source: Source) -> None:
        """A source is whole."""
        self.progress.update(self.tasks[source.id], visible=False)
