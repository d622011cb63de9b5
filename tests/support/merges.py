"""Merges of small models, with what they say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from afa_bench.log import LOG
from afa_bench.merging.merge import prepare
from afa_bench.merging.recipe import read_recipe
from afa_bench.merging.write import write_merge


class Listener(logging.Handler):
    """Keeps what the package's logger is told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(record.getMessage())


def merge(folder: Path, models: dict[str, Path], out: str, **keys: Any) -> tuple[Path, list[str]]:
    """A recipe, written and carried out: the result's place, and what was said."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"models": {name: str(path) for name, path in models.items()}, **keys}, sort_keys=False))
    listener = Listener()
    LOG.addHandler(listener)
    try:
        write_merge(prepare(read_recipe(path), folder), folder / out)
    finally:
        LOG.removeHandler(listener)
    return folder / out, listener.notes


def two(small: Path, family: str) -> dict[str, Path]:
    """Both small models of a family."""
    return {name: small / family / name for name in "AB"}
