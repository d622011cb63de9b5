"""A merge method of somebody else's, in one file: registered once, recipes, suites and the search take it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.merging.checkpoint import open_checkpoint
from afa_bench.merging.method import find_merge_method
from afa_bench.plan import make_plan
from afa_bench.registry import available
from afa_bench.suite import read_suite

DOCS = Path(__file__).parents[2] / "docs"

NEARSWAP = '''
"""NearSwap: B's values replace A's the more, the nearer they are."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, where

from afa_bench.merging.method import merge_method


@merge_method(version=3)
def nearswap(a: Tensor, b: Tensor, *, alpha: float = 0.1, t: Annotated[float, Field(gt=0)] = 0.01, sign: bool = True) -> Tensor:
    share = (t / (a - b).abs()).clamp(max=1)
    return a + alpha * where(share == share, share, 1) * (b - a)
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "site" / "near-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: near\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[afa_bench.merge_methods]\nnear-swap = near:nearswap\n")
    (tmp_path / "site" / "near.py").write_text(NEARSWAP)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_it_is_a_merge_method_everywhere(tmp_path: Path, tiny_group: Path) -> None:
    folder = tiny_group.parent
    recipe = {"models": {"A": str(folder / "one"), "B": str(folder / "two")}, "method": "near-swap", "alpha": "GRAD_A"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    out = tmp_path / "merged.safetensors"
    shown = CliRunner().invoke(app(), ["merge", str(tmp_path / "recipe.yaml"), "-o", str(out)])
    assert shown.exit_code == 0, shown.output
    key = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    a, b = (open_checkpoint(folder / name).read(key) for name in ("one", "two"))
    assert torch.equal(open_checkpoint(out).read(key), find_merge_method("near-swap", "test")(a, b, alpha=1.0))

    suite = {
        "name": "near", "groups": [str(tiny_group)], "prompts": {"name": "mini", "limit": 2}, "steps": [1], "size": 8,
        "methods": [{"name": "merge", "method": "near-swap", "models": ["one", "two"], "t": 0.5}],
        "metrics": [{"name": "clip-t", "features": "mini-clip"}], "images_per_prompt": 1, "sampler": {"guidance": 1.0},
    }  # fmt: skip
    file = tmp_path / "near.yaml"
    file.write_text(yaml.safe_dump(suite))
    (cell,) = make_plan(read_suite(file)).cells
    settings = {"alpha": 0.1, "t": 0.5, "sign": True}
    options = {"method": "near-swap", "models": ["one", "two"], "settings": settings}
    assert cell.label == "near-swap"
    origin = {"qualname": "near.nearswap", "distribution": "near", "version": "1.0"}
    assert cell.identity["method"] == {"name": "merge", "version": 3, "options": options, "weights": {}, "origin": origin}
    ran = CliRunner().invoke(app(), ["run", str(file), "--out", str(tmp_path / "results"), "--device", "cpu"])
    assert ran.exit_code == 0, ran.output
    assert "near-swap" in ran.output

    found = tmp_path / "found"
    search = ["search", str(file), "--scorer", "clip-t", "--method", "near-swap", "--setting", "alpha", "--models", "one,two"]
    searched = CliRunner().invoke(app(), [*search, "--images", "1,2", "--merges", "3", "--device", "cpu", "--out", str(found)])
    assert searched.exit_code == 0, searched.output
    best = yaml.safe_load((found / "recipe.yaml").read_text())
    assert (best["method"], list(best["models"]), len(best["alpha"]["blocks"])) == ("near-swap", ["one", "two"], 25)
    lines = [json.loads(line) for line in (found / "log.jsonl").read_text().splitlines()]
    assert lines[0]["method"] == "near-swap"
    assert [line["row"] for line in lines[2:]] == [[0.0], [0.2]]
    assert "near-swap" in available("merge_methods")


def test_the_docs_list_the_merge_methods() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "merging.md").read_text().split("## Merge methods")[1], re.MULTILINE)
    assert sorted(listed) == list(available("merge_methods"))
    assert all(f"`{name}`" in (DOCS / "baselines.md").read_text() for name in available("merge_methods"))
