"""Python in documents: what a block imports is there, and a block that begins with ```python run runs, after those before it."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from places import ROOT

FILES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python(?P<run> run)?\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = {file.relative_to(ROOT).as_posix(): list(BLOCK.finditer(file.read_text())) for file in FILES}


def runnable(name: str) -> list[str]:
    return [block["code"] for block in BLOCKS[name] if block["run"]]


@pytest.mark.parametrize("name", [name for name, blocks in BLOCKS.items() if blocks])
def test_what_a_block_imports_is_there(name: str) -> None:
    for block in BLOCKS[name]:
        for node in ast.walk(ast.parse(block["code"])):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    assert hasattr(import_module(str(node.module)), alias.name), (name, node.module, alias.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BLOCKS if runnable(name)])
def test_a_block_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, code in enumerate(runnable(name)):
        exec(compile(code, f"{name}, block {number}", "exec"), names)


def test_the_first_block_of_the_readme_is_a_run() -> None:
    assert 'afa_bench.run("mini", limit=2' in runnable("README.md")[0]
