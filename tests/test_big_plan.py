"""Very many samples: what is planned is found done, each sample once."""

from __future__ import annotations

from pathlib import Path

import pytest
from big_store import big_plan, fill

from afa_bench.scoring.summary import missing_weights
from afa_bench.store.layout import Store
from afa_bench.store.status import read_status
from afa_bench.workspace import Workspace


@pytest.mark.slow
def test_what_is_done_is_known(tiny_group: Path, tmp_path: Path) -> None:
    """A hundredth of the paper's 2.4 million samples."""
    plan = big_plan(tmp_path / "suite", tiny_group, prompts=400, steps=5)
    workspace = Workspace(plan, Store(tmp_path / "out"), missing_weights(plan.metrics))
    fill(plan, workspace.store.root)
    workspace.announce()
    assert workspace.open_shards() == []
    total = read_status(workspace.store.root).as_json()["total"]
    assert (total["done"], total["left"]) == (24_000, 0)
