"""``afa-bench retry``: make failed samples again."""

from __future__ import annotations

from typing import Annotated

import typer

from afa_bench.cli.status import RESULTS


def retry(results: Annotated[str | None, typer.Argument(help=RESULTS, show_default=False)] = None) -> None:
    """Have the next run make the failed samples again. What succeeded stays; a failed sample's shard is made as a whole."""
    from afa_bench.store.retry import retry_failed
    from afa_bench.tables.find import find_results
    from afa_bench.terminal import messages, output

    folder = find_results(results)
    found = retry_failed(folder)
    for name, reason in found.left.items():
        messages().print(f"{folder / name}: {reason}")
    if found.failed:
        shared = f", with the {found.samples - found.failed} others of their shards" if found.samples > found.failed else ""
        output().print(f"{folder}: {found.failed} failed samples will be made again by the next run{shared}")
    else:
        output().print(f"{folder}: no failed samples to make again")
