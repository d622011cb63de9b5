"""Two results that differ in one cell, and what the gate says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from results_factory import write_cell

from afa_bench.differences import Difference
from afa_bench.gate import (
    Finding,
    Policy,
    compare_results,
    judge,
)
from afa_bench.tables import load_results

CLIP = {"metrics": {"clip_t_mini": {"margin": 0.02}}}


def gap(low: float, high: float) -> Difference:
    return Difference((low + high) / 2, low, high, 100, 0.5)


def judged(base: Path, head: Path, policy: dict[str, Any] = CLIP) -> list[Finding]:
    held = Policy.model_validate(policy)
    return judge(compare_results(load_results(base), load_results(head), held.selection, level=1 - held.alpha), held)


def one(base: Path, head: Path, policy: dict[str, Any] = CLIP) -> Finding:
    (finding,) = judged(base, head, policy)
    return finding


def sides(tmp_path: Path, **head: Any) -> tuple[Path, Path]:
    """BASE with one cell, and HEAD with the same cell but for what is given."""
    write_cell(tmp_path / "base")
    write_cell(tmp_path / "head", **head)
    return tmp_path / "base", tmp_path / "head"


def change(root: Path, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    (file,) = root.glob("*/samples.parquet")
    how(pd.read_parquet(file)).to_parquet(file)
