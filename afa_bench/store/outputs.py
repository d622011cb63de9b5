"""Folders that a command writes, and writes again: only what a record says that it wrote there is ever replaced or deleted."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from afa_bench.errors import UserError
from afa_bench.store.atomic import read_json, write_json

RECORD = ".afa-bench.json"
"""The record's name: which command wrote the folder, and all files that it wrote."""


@contextmanager
def output_folder(out: Path, command: str) -> Iterator[Path]:
    """A temporary folder whose files are put into ``out`` at the end, in place of those that the command wrote there before.

    Whatever else is in ``out`` stays. A link is followed. The files are put one by one: killed in between, the next time ends it.

    Args:
        out: a new or empty folder, or one that the same command wrote.
        command: such as ``report``.

    Raises:
        UserError: something else is there, or a file of its own would be replaced; nothing has been changed then. Or it cannot be
            written.
    """
    out = out.resolve()
    before = _written(out, command)
    fresh = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        fresh.mkdir(parents=True)
        try:
            yield fresh
            after = {path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_symlink() or not path.is_dir()}
            _put(fresh, out, command, before, after)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error


def _written(out: Path, command: str) -> set[str]:
    """What the command wrote there before.

    Raises:
        UserError: the folder holds something, and no record of this command's.
    """
    record = read_json(out / RECORD) if out.is_dir() else None
    if isinstance(record, dict) and record.get("command") == command and isinstance(record.get("files"), list):
        return {name for name in record["files"] if isinstance(name, str) and _inside(name)}
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: was not written by afa-bench {command}: expected a new or empty folder, or one that it wrote")
    return set()


def _inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in Path(name).parts


def _put(fresh: Path, out: Path, command: str, before: Collection[str], after: Collection[str]) -> None:
    foreign = sorted(name for name in after if name not in before and os.path.lexists(out / name))
    if foreign:
        raise UserError(
            f"{out / foreign[0]}: was not written by afa-bench {command} and would be replaced: move it elsewhere first"
        )
    out.mkdir(exist_ok=True)
    _record(out, command, {*before, *after})
    for name in sorted(after):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(fresh / name, out / name)
    for name in {*before} - {*after}:
        (out / name).unlink(missing_ok=True)
        _remove_empty((out / name).parent, out)
    _record(out, command, after)


def _record(out: Path, command: str, files: Collection[str]) -> None:
    write_json(out / RECORD, {"command": command, "files": sorted(files)})


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
