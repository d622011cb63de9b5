"""A real regression: an aggregator whose weights are damaged must not get through the gate of this project's own CI."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from places import ROOT
from runs import run
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.mini import zoo
from afa_bench.suite import find_suite

POLICY = ROOT / "results/gate/policy.yaml"
HEALTHY = zoo() / "mini-1/sabw"
WEIGHTS = "diffusion_pytorch_model.safetensors"
PROMPTS = 16


def shuffled(weight: torch.Tensor) -> torch.Tensor:
    """The same numbers in other places."""
    order = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(0))
    return weight.flatten()[order].reshape(weight.shape)


def suite_with(sabw: Path, folder: Path) -> Path:
    """The mini suite's first prompts for AFA alone, on a group of the same name whose aggregator is ``sabw``."""
    models = {name: str(zoo() / "mini-1" / name) for name in ("people", "nature", "things")}
    folder.mkdir()
    group = {"pipeline": str(zoo() / "base"), "models": models, "sabw": str(sabw)}
    (folder / "mini-1.yaml").write_text(yaml.safe_dump(group, sort_keys=False))  # the aggregator knows its models by their order
    document = yaml.safe_load(find_suite("mini").read_text())
    document |= {"groups": ["./mini-1.yaml"], "methods": ["afa"], "steps": [4]}
    document["prompts"]["limit"] = PROMPTS
    document["metrics"] = [metric for metric in document["metrics"] if "lite0" not in str(metric)]
    path = folder / "mini.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with the zoo's own aggregator."""
    folder = tmp_path_factory.mktemp("base")
    run(suite_with(HEALTHY, folder / "suite"), folder, batch_size=PROMPTS)
    return folder / "mini"


def damaged(damage: Callable[[torch.Tensor], torch.Tensor], folder: Path) -> Path:
    """The zoo's aggregator with every weight damaged."""
    folder.mkdir()
    shutil.copy(HEALTHY / "config.json", folder)
    weights = load_file(HEALTHY / WEIGHTS)
    save_file({name: damage(weight).contiguous() for name, weight in weights.items()}, folder / WEIGHTS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("damage", [shuffled, torch.neg], ids=["shuffled", "negated"])
def test_a_broken_aggregator_fails_the_gate(base, damage, tmp_path, monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    run(suite_with(damaged(damage, tmp_path / "sabw"), tmp_path / "suite"), tmp_path, batch_size=PROMPTS)
    out = tmp_path / "gate"
    done = CliRunner().invoke(app(), ["gate", str(base), str(tmp_path / "mini"), "--policy", str(POLICY), "--out", str(out)])
    assert done.exit_code == 1, done.output
    assert re.search(r"mini-1: afa +Denoising loss .* regressed\n", done.stdout)
    assert "1 regressed" in done.stdout
    verdicts = {found["metric"]: found["verdict"] for found in json.loads((out / "gate.json").read_text())["findings"]}
    assert verdicts["denoising_loss"] == "regressed"


@pytest.mark.slow
def test_the_same_aggregator_passes_it(base):
    done = CliRunner().invoke(app(), ["gate", str(base), str(base), "--policy", str(POLICY), "--strict"])
    assert done.exit_code == 0, done.output
