"""``afa-bench run``: generate, score, tabulate."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


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
    from afa_bench import api
    from afa_bench.cli.exits import FAILED
    from afa_bench.cli.options import fraction, numbers
    from afa_bench.cli.table import print_table
    from afa_bench.errors import UserError
    from afa_bench.generation.ray import RayEngine
    from afa_bench.terminal import messages, warn

    if engine is not Engines.RAY:
        for option, given in (("--workers", workers), ("--address", address)):
            if given is not None:
                raise UserError(f"{option}: does nothing without --engine ray")
    done = api.run(
        suite,
        limit=limit,
        only=only,
        steps=numbers(steps, "--steps"),
        groups=group,
        size=size,
        out=out,
        device=device,
        batch_size=batch_size,
        strict=strict,
        part=fraction(shard, "--shard"),
        engine=RayEngine(workers, address) if engine is Engines.RAY else None,
        progress=True,
    )
    outcome, console = done.outcome, messages()
    rate = f" ({outcome.generated / outcome.generate_seconds:.1f}/s)" if outcome.generated else ""
    console.print(
        f"{outcome.generated} samples made in {outcome.generate_seconds:.0f} s{rate}, {outcome.reused} found done, "
        f"scored in {outcome.score_seconds:.0f} s: {done.folder}"
    )
    if outcome.left:
        console.print(f"{outcome.left} samples of other shares are still to be made; whoever comes last scores")
        return
    print_table(api.table(done.results))
    for line in outcome.missing:
        warn(f"no value of {line}")
    if outcome.failed:
        console.print(f"{outcome.failed} samples failed: see the column error of samples.parquet below {done.folder}")
        raise typer.Exit(FAILED)
