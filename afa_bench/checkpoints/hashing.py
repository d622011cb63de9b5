"""sha256 of checkpoints: a model is its bytes, never its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from afa_bench.checkpoints.header import read_header
from afa_bench.checkpoints.parts import SUFFIX, below, files_of
from afa_bench.errors import NotFoundError, UserError, unreadable
from afa_bench.identity import fingerprint
from afa_bench.paths import cache_folder
from afa_bench.store.atomic import write_bytes

LARGE = 64 * 2**20
"""Bytes above which a file's hash is remembered: about a tenth of a second's work."""


def hash_file(path: Path) -> str:
    """sha256 of one file's bytes.

    Raises:
        UserError: it cannot be read.
    """
    try:
        status = path.stat()
        return _hash(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise unreadable(path, error) from error


@lru_cache(maxsize=1024)
def _hash(path: Path, size: int, changed: int) -> str:
    """The hash of a file as it is at a size and a time: checkpoints are large, and one plan asks for the same one many times.

    That of a large file is remembered for later processes as well, until its size or its time of change is another.
    """
    note = _note(path) if size >= LARGE else None
    if note and (known := _remembered(note)) and known[:2] == [size, changed]:
        return str(known[2])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if note:
        with suppress(UserError):  # a cache folder that cannot be written costs time, no more
            write_bytes(note, json.dumps([size, changed, digest]).encode())
    return digest


def _note(path: Path) -> Path:
    """Where the hash of a large file is remembered: in the user's cache folder, under the hash of its path."""
    return cache_folder() / "hashes" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]


def _remembered(note: Path) -> list[Any] | None:
    try:
        known = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    return known if isinstance(known, list) and len(known) == 3 and isinstance(known[2], str) else None


def hash_folder(folder: Path, names: Sequence[str] = ()) -> str:
    """One fingerprint for a folder without weights: names and bytes of these files, else of all configurations and vocabularies.

    Raises:
        UserError: no such folder, or none of these in it.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no such folder")
    paths = [folder / name for name in names if (folder / name).is_file()] or below(folder, ".json", ".txt")
    if not paths:
        raise UserError(f"{folder}: expected the files of a checkpoint, found none")
    return _fingerprint(folder, paths)


def hash_weights(path: Path) -> str:
    """The fingerprint of a folder with weights, of the files that are read (``files_of``), or the sha256 of a single file.

    Raises:
        UserError: no safetensors file in the folder, or one that is truncated.
    """
    if path.is_file():
        return hash_file(path)
    files = files_of(path) if path.is_dir() else []
    weights = [file for file in files if file.suffix == SUFFIX]
    if not weights:
        raise UserError(f"{path}: expected a folder with a .safetensors file")
    for file in weights:
        read_header(file)
    return _fingerprint(path, files)


def _fingerprint(folder: Path, files: Sequence[Path]) -> str:
    return fingerprint({path.relative_to(folder).as_posix(): hash_file(path) for path in files})
