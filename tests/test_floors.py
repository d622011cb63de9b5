"""The house stands straight: a room imports from floors below its own alone, and nothing goes round in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest
from places import ROOT

FLOORS = (
    ("words",),
    ("chosen", "errors", "log", "markup", "memory", "progress", "terminal"),
    ("devices", "extensions", "paths"),
    ("identity", "outputs", "provenance", "registry", "stats"),
    ("differences", "reading", "store"),
    ("checkpoints",),
    ("fetch", "images"),
    ("architectures", "denoiser"),
    ("models",),
    ("extractors", "prompts"),
    ("metrics",),
    ("ensembles", "merging", "method"),
    ("training",),
    ("afa",),
    ("suite",),
    ("cells",),
    ("plan", "workspace"),
    ("generation", "scoring"),
    ("needs", "refresh", "run", "search"),
    ("estimate",),
    ("tables",),
    ("gate", "paper", "publish", "report"),
    ("returned",),
    ("api",),
    ("official",),
    ("bench", "mini"),
    ("cli",),
    ("__main__",),
)
"""From the ground up: a room is a folder of the package or a file beside them. Rooms of one floor do not know each other."""

FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules(package: str) -> dict[str, ast.Module]:
    """Every module of a package, parsed."""
    files = sorted((ROOT / package).rglob("*.py"))
    dotted = (".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files)
    return {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in zip(dotted, files, strict=True)}


MODULES = modules("afa_bench")


def imported(tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[str]:
    """The modules that one imports, anywhere in it, for types alone too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & known.keys() or {node.module}


def room(module: str) -> str:
    package, _, rest = module.partition(".")
    return rest.split(".")[0] if package == "afa_bench" else ""


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} - {""} == FLOOR.keys()


def test_the_page_shows_the_same_floors() -> None:
    lines = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1] for line in lines if line.startswith("| `")]
    shown = [{name.strip("/ ") for name in row.replace("`", "").split(",")} for row in rows[: len(FLOORS) - 1]]
    assert shown == [set(rooms) for rooms in FLOORS[:-1]]


def test_no_import_goes_up() -> None:
    wrong = [
        f"{module} -> {other}"
        for module, tree in MODULES.items()
        for other in imported(tree, MODULES)
        if room(module) and room(other) in FLOOR and room(module) != room(other) and FLOOR[room(other)] >= FLOOR[room(module)]
    ]
    assert wrong == []


def test_no_import_goes_round() -> None:
    for package in (MODULES, modules("baselines")):
        graph = {module: set(imported(tree, package)) & package.keys() - {module} for module, tree in package.items()}
        try:
            tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            pytest.fail(" -> ".join(error.args[1]))


def test_nothing_imports_a_method() -> None:
    assert [
        module for module, tree in MODULES.items() if any(name.startswith("baselines") for name in imported(tree, MODULES))
    ] == []


def test_no_file_is_long() -> None:
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in (ROOT / "afa_bench").rglob("*.py")}
    assert {file: count for file, count in lines.items() if count > 400} == {}


def test_the_floors_are_in_order() -> None:
    assert all(set(one).isdisjoint(other) for one, other in pairwise(FLOORS))
