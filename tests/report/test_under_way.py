"""A run that is under way: what is there is shown and handed on, and it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_factory import begun

from afa_bench import api
from afa_bench.errors import NothingToDoError
from afa_bench.publish.hub import Benchmark
from afa_bench.publish.submission import export
from afa_bench.publish.verify import verify
from afa_bench.report import write_report
from afa_bench.report.images import Mode


@pytest.mark.parametrize("scored", [0, 1, 3])
def test_the_report_shows_what_is_there(tmp_path: Path, scored: int) -> None:
    results = api.load_results(begun(tmp_path / "tiny", scored), scored=False)
    said = f"under way: {scored} of 4 cells are scored"
    assert results.under_way == said
    write_report(results, tmp_path / "page", Mode.SMALL, lambda title, total: lambda steps: None)
    assert f"<h1>tiny, revision 3 ({said})</h1>" in (tmp_path / "page" / "index.html").read_text()
    text = (tmp_path / "page" / "data.js").read_text()
    assert f"U{said[1:]}." in text
    assert text.count('"m2"') >= 1
    assert len(list((tmp_path / "page" / "images").iterdir())) == 3
    assert len(list((tmp_path / "page" / "images").glob("*/*.png"))) == 48 * scored + 32 * (3 - scored)


def test_a_table_says_it(tmp_path: Path) -> None:
    assert api.table(begun(tmp_path / "tiny", 2)).notes[0] == "Under way: 2 of 4 cells are scored."
    with pytest.raises(NothingToDoError, match="nothing is scored yet"):
        api.table(begun(tmp_path / "none", 0))


def test_a_submission_says_it(tmp_path: Path) -> None:
    results = api.load_results(begun(tmp_path / "tiny", 2))
    export(results, tmp_path / "out", Benchmark(), images=True, advance=lambda steps: None)
    assert "Under way: 2 of 4 cells are scored." in (tmp_path / "out" / "tables" / "table.md").read_text()
    assert len(list((tmp_path / "out").glob("results/tiny/*/cell.json"))) == 2
    found = verify(tmp_path / "out")
    assert (found.problems, found.partial) == ((), ("under way when it was exported: 2 of 4 cells",))
