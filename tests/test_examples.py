"""The scripts that users copy run as they are."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from afa_bench.afa.sabw import SABW
from afa_bench.training.log import read_log

EXAMPLES = Path(__file__).parent.parent / "examples"


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
