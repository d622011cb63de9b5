"""Very many samples: what is planned, and what is done, is known soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from big_store import big_plan, fill

from afa_bench.scoring.summary import missing_weights
from afa_bench.store.layout import Store
from afa_bench.store.status import read_status
from afa_bench.workspace import Workspace


@pytest.mark.slow
@pytest.mark.alone
def test_what_is_done_is_known_in_25_microseconds_a_sample(tiny_group: Path, tmp_path: Path) -> None:
    """A minute for 2.4 million samples, by the processor's clock; here for a hundredth of them."""
    plan = big_plan(tmp_path / "suite", tiny_group, prompts=400, steps=5)
    workspace = Workspace(plan, Store(tmp_path / "out"), missing_weights(plan.metrics))
    fill(plan, workspace.store.root)
    workspace.announce()
    begun = time.process_time()
    assert workspace.open_shards() == []
    looked = time.process_time()
    total = read_status(workspace.store.root).as_json()["total"]
    told = time.process_time()
    assert (total["done"], total["left"]) == (24_000, 0)
    assert looked - begun < 24_000 * 25e-6
    assert told - looked < 24_000 * 25e-6
