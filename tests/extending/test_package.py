"""A package of somebody else's, installed beside this one: its method, metric and prompt set are found, run and tabulated."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from afa_bench import registry
from afa_bench.cli import app


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package, built from its own pyproject.toml and installed into a folder that Python searches."""
    source, target = tmp_path / "source", tmp_path / "site"
    shutil.copytree(Path(__file__).parent / "plugin", source, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", target, source], check=True, timeout=300)
    monkeypatch.syspath_prepend(target)
    importlib.invalidate_caches()
    return target


def test_a_third_partys_package(installed: Path, tmp_path: Path, tiny_group: Path) -> None:
    for kind, name in (("methods", "last"), ("metrics", "certainty"), ("prompts", "colours")):
        found = registry.load(kind, name)  # type: ignore[arg-type]
        assert Path(sys.modules[found.__module__].__file__ or "").parent == installed
    suite = {
        "name": "theirs",
        "groups": [str(tiny_group)],
        "prompts": {"name": "colours", "colours": ["red", "blue"]},
        "methods": ["last", {"name": "last", "label": "middle", "back": 1}, "weighted"],
        "metrics": ["certainty"],
        "sampler": {"guidance": 2.0},
        "steps": [2],
        "size": 8,
        "images_per_prompt": 1,
    }
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(suite))
    arguments = ["run", str(tmp_path / "theirs.yaml"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    shown = CliRunner().invoke(app(), arguments, terminal_width=120)
    assert shown.exit_code == 0, shown.output
    for expected in ("Certainty (lite0)", "last", "middle", "weighted"):
        assert expected in shown.output
