"""Files and folders that a command is to write: whether it may is found out before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from afa_bench.errors import UserError
from afa_bench.paths import expanded


def new_file(path: str | os.PathLike[str], where: str, *suffixes: str) -> Path:
    """A file that is to be written, found out before the work: it can be made, and its name ends as it must.

    Args:
        path: as users write it.
        where: the option, for the error's first words.
        suffixes: that its name may have; any by default.

    Raises:
        UserError: a folder stands there, a part of the way is a file, it may not be written, or another suffix.
    """
    file = expanded(path, where)
    if suffixes and file.suffix not in suffixes:
        raise UserError(f"{where}: {file}: expected a name that ends in {' or '.join(suffixes)}")
    if file.is_dir():
        raise UserError(f"{where}: {file}: is a folder; expected the name of a file")
    _check_parent(file, where)
    if file.exists() and not os.access(file, os.W_OK):
        raise UserError(f"{where}: {file}: may not be written")
    return file


def new_folder(path: str | os.PathLike[str], where: str) -> Path:
    """A folder that is to be made or written into, found out before the work.

    Raises:
        UserError: a file stands there or is a part of the way, or it may not be written.
    """
    folder = expanded(path, where)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{where}: {folder}: is a file; expected a folder")
    _check_parent(folder / "inside", where)
    return folder


def _check_parent(path: Path, where: str) -> None:
    there = next(parent for parent in path.parents if parent.exists() or parent == parent.parent)
    if not there.is_dir():
        raise UserError(f"{where}: {path}: {there} is a file; expected a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{where}: {path}: {there} may not be written")
