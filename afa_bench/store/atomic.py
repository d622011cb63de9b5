"""Files, and folders of them, that are either whole or absent, whatever kills the process."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from afa_bench.errors import UserError
from afa_bench.store.place import put, storage

PART = ".part"
"""Ends the names of files and folders that are being written."""


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing which has no name until it is whole; it is then flushed to the disk and given its name.

    Where the file system knows no files without a name, it has a temporary one, which is removed if the writing fails.
    A URL's object is in memory until it is whole.

    Raises:
        UserError: the folder cannot be written (read-only, full, not a folder).
    """
    if storage(path) is not None:
        buffer = io.BytesIO()
        yield buffer
        try:
            put(path, buffer.getvalue())
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error}") from error
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        unnamed = _unnamed(path.parent)
        try:
            with temporary.open("xb") if unnamed is None else os.fdopen(unnamed, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if unnamed is not None:
                    _name(unnamed, temporary)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def _unnamed(folder: Path) -> int | None:
    """A new file without a name, which is gone when whoever writes it is killed; None where there is no such thing."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError:
        return None


def _name(unnamed: int, path: Path) -> None:
    """Give a file its name. Python follows a link to a file without a name only relative to a folder."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(f"/proc/self/fd/{unnamed}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder under a temporary name beside ``path``, one's own, renamed to it at the end, or removed.

    Those that a kill has left are removed when the same folder is begun again; one that another process is writing is not.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        begun = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary = begun.with_name(f"{begun.name}{PART}")
        begun.mkdir()
        lock = _locked(begun)
        try:
            begun.rename(temporary)  # only now is it one that could be taken for left over
            yield temporary
            temporary.rename(path)
        except BaseException:
            for folder in (begun, temporary):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if lock is not None:
                os.close(lock)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def _remove_left(path: Path) -> None:
    """Remove the temporary folders of a place that no process has open any more."""
    for folder in path.parent.iterdir():
        if folder.name.startswith(f".{path.name}.") and folder.name.endswith(PART) and folder.is_dir():
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """A lock on a folder, which ends with the process; None: another has it, or the system knows none."""
    try:
        import fcntl
    except ImportError:
        return None
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def write_bytes(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, flush to the disk, rename.

    Raises:
        UserError: the folder cannot be written (read-only, full, not a folder).
    """
    with writing(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically, with sorted keys: equal values give equal bytes. NaN is refused (``ValueError``)."""
    write_bytes(path, json_text(value).encode())


def json_text(value: Any) -> str:
    """Readable JSON with sorted keys. NaN is refused (``ValueError``)."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None where there is no such file.

    Raises:
        UserError: it exists and is damaged.
    """
    data = read_bytes(path)
    return None if data is None else parse_json(path, data)


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a file, or None where there is no such file.

    Raises:
        UserError: it exists and cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise UserError(f"{path.parent}: expected a folder") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def parse_json(path: Path, data: bytes) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged or unreadable: {error}") from error
