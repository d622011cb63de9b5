"""The examples of docs/extending.md: every file and every command, as they stand there."""

import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from documents import commands
from runs import rows
from strangers import DOCUMENT, FILES, write
from typer.testing import CliRunner

from afa_bench import registry
from afa_bench.cli import app


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write(tmp_path)


def run(*words):
    shown = CliRunner().invoke(app(), list(words), terminal_width=200, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.output


def cells(results):
    return [json.loads(path.read_text()) for path in sorted(results.glob("*/cell.json"))]


def origin(file, name):
    return {"qualname": name, "sha256": hashlib.sha256(FILES[file].encode()).hexdigest()}


@pytest.mark.slow
def test_all_commands_by_path(folder):
    said = {" ".join(words): run(*words[1:]) for words in commands(DOCUMENT)}
    assert "late switch" in said["afa-bench run method.yaml"]
    for title in ("Colourfulness", "Spread of colours", "CLIP-T (mini)"):
        assert title in said["afa-bench run metric.yaml"]
    assert "fox" in said["afa-bench table results/prompts --by category"]
    assert "noise-average" in said["afa-bench run blend.yaml"]
    assert all(row in said["afa-bench run merge.yaml"] for row in ("slerp", "from a recipe"))
    assert "Alignment" in said["afa-bench run denoiser.yaml"]
    assert "skipping" in said["afa-bench run architecture.yaml"]

    methods = {cell["label"]: cell["identity"]["method"] for cell in cells(folder / "results/method")}
    assert {label: method["origin"] for label, method in methods.items()} == dict.fromkeys(
        ("switch", "late switch"), origin("switch.py", "Switch")
    )
    merged = [cell["identity"]["method"]["origin"] for cell in cells(folder / "results/merge")]
    assert merged == [origin("slerp.py", "slerp")] * 2
    assert cells(folder / "results/prompts")[0]["identity"]["prompts_origin"] == origin("grid.py", "Grid")
    training = json.loads((folder / "trainings/training/training.json").read_text())
    assert (training["trainable"], training["origin"]) == ("blend", origin("blend.py", "TrainBlend"))
    for results in ("method", "merge", "metric", "denoiser"):
        assert str(folder) not in json.dumps(cells(folder / "results" / results))
    for weights in (folder / "merged").rglob("*.safetensors"):
        assert str(folder).encode() not in weights.read_bytes()[: 2**20]
    skipping, plain = sorted(cells(folder / "results/architecture"), key=lambda cell: cell["group"] != "skipping")
    assert skipping["identity"]["group"]["architecture"]["origin"] == origin("clip_skip.py", "ClipSkip")
    assert "architecture" not in plain["identity"]["group"]
    assert len({row["sha256"] for row in rows(folder / "results/architecture")}) == 2 * 2


def installed(folder, monkeypatch):
    """The package of the document, built from its own pyproject.toml and installed into a folder that Python searches."""
    source, target = write(folder / "source"), folder / "site"
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", target, source], check=True, timeout=300)
    monkeypatch.syspath_prepend(target)
    importlib.invalidate_caches()
    return target


def test_the_same_as_a_package(folder, monkeypatch):
    site = installed(folder, monkeypatch)
    for file in folder.glob("*.py"):
        file.unlink()
    names = {"methods": "switch", "merge_methods": "slerp", "trainables": "blend", "prompts": "grid", "extractors": "opponents"}
    for kind, name in {**names, "metrics": "colourfulness", "architectures": "sd15-clip-skip"}.items():
        found = registry.load(kind, name)
        assert Path(sys.modules[getattr(found, "function", found).__module__].__file__).parent == site
    assert "colourfulness" in run("ls")
    assert "Colourfulness" in run("run", "package.yaml", "--device", "cpu")
    merged, cell = sorted(cells(folder / "results/package"), key=lambda cell: cell["label"])
    theirs = {"distribution": "afa-bench-examples", "version": "1.0"}
    assert cell["identity"]["method"]["origin"] == {"qualname": "switch.Switch", **theirs}
    assert merged["identity"]["method"]["origin"] == {"qualname": "slerp.slerp", **theirs}
    assert cell["identity"]["prompts_origin"] == {"qualname": "grid.Grid", **theirs}
