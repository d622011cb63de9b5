"""Scoring the mini suite is still what it was when its committed results were made."""

import pytest
from places import ROOT

from afa_bench.plan import make_plan
from afa_bench.scoring.summary import missing_weights
from afa_bench.store.layout import Store
from afa_bench.suite import find_suite, read_suite
from afa_bench.workspace import Workspace

COMMITTED = ROOT / "results" / "gate" / "mini"


@pytest.mark.skipif(not COMMITTED.is_dir(), reason="not a checkout")
def test_cells_and_what_their_numbers_depend_on_are_those_of_the_committed_results():
    plan = make_plan(read_suite(find_suite("mini")))
    missing = missing_weights(plan.metrics)
    assert not missing
    workspace = Workspace(plan, Store(COMMITTED), missing)
    for cell in plan.cells:
        summary = workspace.files(cell).summary()
        assert summary is not None
        assert summary["fingerprint"] == cell.fingerprint
        assert summary["inputs"] == workspace.inputs(cell)
