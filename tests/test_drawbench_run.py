"""The real suite file on a local copy of its prompts, from fetch to table, without a network."""

import json
import socket
from pathlib import Path

import pytest
import sets

from afa_bench.cli import app


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refused(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def afa_bench(*words: str) -> int:
    """The exit code of a command."""
    found = app()(list(words), standalone_mode=False)
    return found if isinstance(found, int) else 0


@pytest.mark.slow
def test_drawbench_ends_in_a_table_on_the_miniature_group(offline: Path, capsys):
    (offline / "mine").mkdir()
    (offline / "mine" / "DrawBench Prompts - Sheet1.csv").write_bytes(sets.drawbench_csv())
    assert (
        afa_bench("fetch", "drawbench", "--from", "mine") == 2
    )  # the checkpoints and the metrics' weights are not in the folder
    said = capsys.readouterr().err
    assert "civitai:134065: not in mine" in said
    assert "drawbench@" not in said
    where = ("--group", "mini-1", "--size", "32", "--steps", "1", "--limit", "3", "--only", "weighted,afa", "--out", "results")
    assert afa_bench("run", "drawbench", *where) == 0
    printed = capsys.readouterr().out
    cells = sorted(offline.glob("results/drawbench-size32-limit3/*/cell.json"))
    assert len(cells) == 2
    for cell in cells:
        assert json.loads(cell.read_text())["suite"] == "drawbench-size32-limit3"
        assert len(list((cell.parent / "images").iterdir())) == 3 * 4
    for words in ("weighted", "afa", "ImageReward", "PickScore", "HPSv2", "AES"):
        assert words in printed
