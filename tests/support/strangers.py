"""Somebody else's plug-ins: the files of docs/extending.md, and packages as pip leaves them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from documents import files
from places import ROOT

DOCUMENT = ROOT / "docs" / "extending.md"
FILES = files(DOCUMENT)


def write(folder: Path, *names: str) -> Path:
    """Files of the document (all by default) in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or FILES:
        (folder / name).write_text(FILES[name])
    return folder


def install(site: Path, monkeypatch: pytest.MonkeyPatch, package: str, source: str, version: str = "1.0", **groups: str) -> None:
    """A package of one module, which registers entry points: group -> ``name = module:object``."""
    info = site / f"{package}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("".join(f"[afa_bench.{group}]\n{line}\n" for group, line in groups.items()))
    (site / f"{package}.py").write_text(source)
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
