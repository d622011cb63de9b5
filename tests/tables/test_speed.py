"""A table, a comparison and a gate over 100,000 rows, each in under two seconds, without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from results_factory import write_big_results

SECONDS = 2.0
ROWS = 100_000


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_big_results(tmp_path_factory.mktemp("results") / "big", rows=ROWS)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    "words",
    [("table", "BIG"), ("table", "BIG", "--vs", "afa"), ("compare", "BIG", "BIG"), ("gate", "BIG", "BIG")],
    ids=" ".join,
)
def test_a_hundred_thousand_rows_in_two_seconds(big: Path, words: tuple[str, ...]) -> None:
    """The processor's time, which other work on the machine hardly lengthens; the best of three, after one that compiles."""
    code = (
        "import sys, time; from afa_bench.cli import app; sys.argv[0] = 'afa-bench'\n"
        "try: app()()\n"
        "finally: print(time.process_time(), sorted({'torch', 'diffusers', 'pandas'} & set(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, *(str(big) if word == "BIG" else word for word in words)]
    cached = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(big.parent / "compiled")}
    alone = {**os.environ, **cached}
    best = SECONDS
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, env=alone)
        assert done.returncode == 0, done.stderr
        seconds, modules = done.stderr.strip().splitlines()[-1].split(" ", 1)
        assert modules == "[]"
        best = min(best, float(seconds))
        if best < SECONDS:
            break
    assert best < SECONDS
