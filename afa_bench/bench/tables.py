"""How long the commands that read a results folder take, each as a process of its own, beside one that only reads the samples."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table

from afa_bench.errors import UserError
from afa_bench.store.layout import Store
from afa_bench.terminal import Bars

READ = "the samples, read"
_CODE = "import sys, pyarrow.parquet as parquet; print(sum(parquet.read_table(path).num_rows for path in sys.argv[1:]))"


def run_tables(results: Path, rounds: int) -> Table:
    """Run each command on a folder of results, and on it as its own baseline, in turn ``rounds`` times; the medians are shown.

    Raises:
        UserError: no samples there, or a command that does not end well.
    """
    store = Store(results)
    samples = [str(path) for path in (store.cell(name).samples for name in store.cells()) if path.exists()]
    if not samples:
        raise UserError(f"{results}: no samples to read: expected a folder with results of afa-bench run")
    folder = str(results)
    words = [["--help"], ["table", folder], ["compare", folder, folder], ["gate", folder, folder]]
    commands = {READ: [sys.executable, "-c", _CODE, *samples]}
    commands |= {arguments[0]: [sys.executable, "-m", "afa_bench", *arguments] for arguments in words}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    rows = 0
    bars = Bars()
    with bars.stage("bench", rounds * len(commands)):
        for _ in range(rounds):
            for name, command in commands.items():
                begun = time.perf_counter()
                shown = _run(command)
                seconds[name].append(time.perf_counter() - begun)
                rows = int(shown) if name == READ else rows
                bars.advance(name, 1)
    table = Table(title=f"{results}: {rows:,} samples in {len(samples)} cells", box=box.SIMPLE_HEAD, header_style="")
    for head in ("", "seconds", "× reading"):
        table.add_column(head, justify="left" if not head else "right")
    for name, times in seconds.items():
        table.add_row(name, f"{median(times):.2f}", f"{median(times) / median(seconds[READ]):.2f}")
    return table


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{command[3]}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
    return done.stdout
