"""Where things lie: what ships with the package, and what belongs to the user."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent

ZOO = "zoo:"
"""Prefix of a path inside the miniature zoo that ships with the package."""

DATA = "data:"
"""Prefix of a path inside the data folder."""

DATA_VARIABLE = "AFA_BENCH_DATA"
"""The environment variable that names the data folder."""


def shipped(name: str) -> Path:
    """A folder that a checkout has beside the package and an installed package has inside it: ``suites``, ``results``."""
    inside = PACKAGE / f"_{name}"
    return inside if inside.is_dir() else PACKAGE.parent / name


def zoo() -> Path:
    """The folder of the miniature zoo that ships with the package."""
    return PACKAGE / "mini" / "zoo"


def cache_folder() -> Path:
    """``afa-bench`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "afa-bench"


def data_folder() -> Path:
    """``$AFA_BENCH_DATA``, or the user's cache folder."""
    own = os.environ.get(DATA_VARIABLE)
    return Path(own).expanduser() if own else cache_folder()


def located(text: str, folder: Path = Path()) -> Path:
    """A path as users write it: inside the zoo after ``zoo:``, in the data folder after ``data:``, else below ``folder``."""
    if text.startswith(DATA):
        return data_folder() / text.removeprefix(DATA)
    return zoo() / text.removeprefix(ZOO) if text.startswith(ZOO) else folder / Path(text).expanduser()
