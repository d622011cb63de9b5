"""A run without a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from afa_bench.plan import make_plan
from afa_bench.run import WHOLE, Outcome, Part, run_plan
from afa_bench.suite import read_suite

torch.set_num_threads(1)  # in the processes that tests start too: the last digit of a sum depends on it


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[None]:
        yield

    def begin(self, total: int) -> None:
        pass

    def advance(self, label: str, steps: int) -> None:
        pass


def run(suite: Path, out: Path, batch_size: int = 4, part: Part = WHOLE, **options: object) -> Outcome:
    """What ``afa-bench run`` does, but for the table."""
    return run_plan(make_plan(read_suite(suite), **options), out, "cpu", batch_size, Silent(), part=part)  # type: ignore[arg-type]
