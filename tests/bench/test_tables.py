"""``afa-bench bench tables``: what reads results is timed beside the reading alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_factory import write_big_results
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError


@pytest.mark.slow
def test_each_command_has_its_seconds(tmp_path: Path) -> None:
    big = write_big_results(tmp_path / "big", rows=8_000)
    shown = CliRunner().invoke(app(), ["bench", "tables", str(big), "--rounds", "1"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "8,000 samples in 10 cells" in shown.output
    rows = {line.split("  ")[1].strip(): line.split()[-2:] for line in shown.output.splitlines() if line.split("  ")[1:]}
    assert {"the samples, read", "--help", "table", "compare", "gate"} <= rows.keys()
    assert rows["the samples, read"][1] == "1.00"
    assert all(float(rows[name][0]) > 0 for name in ("--help", "table", "compare", "gate"))


def test_a_folder_without_samples_is_refused(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app(), ["bench", "tables", str(tmp_path)])
    assert isinstance(shown.exception, UserError)
    assert "no samples to read" in str(shown.exception)
