"""Where things lie: what ships with the package, and what belongs to the user."""

from __future__ import annotations

import os
import re
from pathlib import Path

from afa_bench.errors import UserError

PACKAGE = Path(__file__).parent

ZOO = "zoo:"
"""Prefix of a path inside the miniature zoo that ships with the package."""

DATA = "data:"
"""Prefix of a path inside the data folder."""

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How a URL begins, and what is left of it where it was taken for a path."""

DATA_VARIABLE = "AFA_BENCH_DATA"
"""The environment variable that names the data folder."""


def shipped(name: str) -> Path:
    """A folder that a checkout has beside the package and an installed package has inside it: ``suites``, ``results``."""
    inside = PACKAGE / f"_{name}"
    return inside if inside.is_dir() else PACKAGE.parent / name


def zoo() -> Path:
    return PACKAGE / "mini" / "zoo"


def cache_folder() -> Path:
    """The user's; of one without a home it is below ``/nonexistent``, where nothing is found and nothing is kept."""
    cache = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(f"/nonexistent{cache[1:]}" if cache.startswith("~") else cache) / "afa-bench"


def data_folder() -> Path:
    own = os.environ.get(DATA_VARIABLE)
    return expanded(own) if own else cache_folder()


def located(text: str, folder: Path = Path()) -> Path:
    """A path as users write it: inside the zoo after ``zoo:``, in the data folder after ``data:``, else below ``folder``."""
    if text.startswith(DATA):
        return data_folder() / text.removeprefix(DATA)
    return zoo() / text.removeprefix(ZOO) if text.startswith(ZOO) else folder / expanded(text)


def expanded(path: str | os.PathLike[str], where: str = "") -> Path:
    """A path as users write it, with their home folder in the place of ``~``.

    Args:
        path: on this machine. A URL is none: as a path it would be a folder ``s3:`` in the working folder.
        where: the option, for the error's first words.

    Raises:
        UserError: no text, or a URL.
    """
    text = as_text(os.path.expanduser(path))
    if URL.match(text):
        raise UserError(f"{where and f'{where}: '}{text}: is a URL; expected a path of this machine (./{text} if it is one)")
    return Path(text)


def as_text(word: str) -> str:
    """What a user wrote, which results and metadata are to name: it must be text, which the name of a file need not be.

    Raises:
        UserError: other bytes.
    """
    if re.search(r"[\ud800-\udfff]", word):
        raise UserError(f"{word!r}: not UTF-8; expected a name that can be written down: rename it")
    return word
