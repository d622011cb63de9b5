"""The scripts that users copy run as they are."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from places import ROOT

from afa_bench.afa.sabw import SABW
from afa_bench.training.log import read_log

EXAMPLES = ROOT / "examples"


@pytest.mark.slow
def test_train_sabw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train_sabw.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "train_sabw.py"), run_name="__main__")
    assert "step 50: loss" in capsys.readouterr().out
    losses = [line["loss"] for line in read_log(tmp_path / "log.jsonl")]
    assert len(losses) == 5
    sabw = SABW.read(tmp_path / "sabw")
    assert all(block.conv_out.weight.abs().max() > 0 for block in sabw.blocks), "every block has learned"
    assert Image.open(tmp_path / "image.png").size == (256, 256)
    assert Image.open(tmp_path / "maps.png").height > 700


@pytest.mark.slow
def test_compare_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["compare_methods.py", str(tmp_path)])
    done = runpy.run_path(str(EXAMPLES / "compare_methods.py"), run_name="__main__")["done"]
    assert done.outcome.failed == 0
    assert len(done.results) == 5  # three base models and two ensembles
    printed = capsys.readouterr().out
    assert "noise-average" in printed
    assert "Suite example, revision 1, with paired differences to afa" in printed


@pytest.mark.slow
def test_slurm(tiny_suite: Path, tmp_path: Path) -> None:
    """A job array of two tasks, as Slurm starts them."""
    tasks = {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "4", "SLURM_ARRAY_TASK_COUNT": "2"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    said = []
    for task in ("3", "4"):
        done = subprocess.run(
            ["bash", EXAMPLES / "slurm.sh", tiny_suite, tmp_path / "out", "--only", "one,two"],
            env={**os.environ, **tasks, "PATH": path, "SLURM_ARRAY_TASK_ID": task},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    assert "10 samples of other shares are still to be made" in said[0]
    assert len(list((tmp_path / "out").rglob("summary.json"))) == 2
