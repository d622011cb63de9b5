"""What one has to read to follow a suite through ``run``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from places import ROOT

MOST = 6_000
"""Lines of ``run.py`` and of all that it imports, at whatever depth, in functions too."""


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a file names in imports, but for those of type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
            yield str(node.module)
        else:
            yield from imported(node)


def file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def closure(start: str) -> dict[str, int]:
    """Module -> lines, of a module and all of this package that it imports."""
    lines: dict[str, int] = {}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        file = file_of(module)
        if file is None or module in lines:
            continue
        text = file.read_text(encoding="utf-8")
        lines[module] = len(text.splitlines())
        waiting += [*imported(ast.parse(text)), *([module.rpartition(".")[0]] if "." in module else [])]
    return lines


def test_run_and_all_that_it_imports_can_be_read() -> None:
    found = closure("afa_bench.run")
    assert {"afa_bench.cells", "afa_bench.generation.generator", "afa_bench.scoring.summary"} <= found.keys()
    assert sum(found.values()) < MOST, sorted(found.items(), key=lambda item: -item[1])


def test_a_run_needs_its_plan_and_nothing_of_how_it_was_made() -> None:
    others = ("suite", "plan", "reading", "fetch", "models.group", "prompts", "tables", "cli")
    prefixes = tuple(f"afa_bench.{name}" for name in others)
    assert not [module for module in closure("afa_bench.run") if module.startswith(prefixes)]
