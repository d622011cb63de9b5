"""A run without a terminal."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import torch

from afa_bench.cells import SHARD, Plan
from afa_bench.generation.inline import run_shards
from afa_bench.generation.loop import Engine
from afa_bench.plan import make_plan
from afa_bench.progress import Silent
from afa_bench.refresh import refresh
from afa_bench.run import RunOutcome, run_plan
from afa_bench.suite import read_suite
from afa_bench.workspace import WHOLE, Share

torch.set_num_threads(1)  # in the processes that tests start too: the last digit of a sum depends on it


def planned(suite: Path, shard_size: int = SHARD, **options: object) -> Plan:
    """A suite's plan, cut into shards of another size."""
    return replace(make_plan(read_suite(suite), **options), shard_size=shard_size)  # type: ignore[arg-type]


def run(
    suite: Path,
    out: Path,
    batch_size: int = 4,
    share: Share = WHOLE,
    shard_size: int = SHARD,
    engine: Engine = run_shards,
    **options: object,
) -> RunOutcome:
    """What ``afa-bench run`` does, but for the table."""
    plan = planned(suite, shard_size, **options)
    refresh(plan, out)
    return run_plan(plan, out, "cpu", batch_size, Silent(), share=share, engine=engine)


CELLS = 6  # three base models, a merge, two ensembles


def rows(out: Path) -> list[dict[str, object]]:
    return [row for file in sorted(out.rglob("samples.parquet")) for row in pq.read_table(file).to_pylist()]


def hashes(out: Path) -> dict[str, str]:
    return {
        f"{file.parent.name}/{row['sample_id']}": row["sha256"]
        for file in out.rglob("samples.parquet")
        for row in pq.read_table(file).to_pylist()
    }


def summaries(out: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in sorted(out.rglob("summary.json"))}


def tabulate(out: Path) -> bytes:
    return subprocess.run([sys.executable, "-m", "afa_bench", "table", str(out / "tiny")], capture_output=True, check=True).stdout
