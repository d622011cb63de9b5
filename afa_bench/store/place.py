"""Where results lie: a folder of this machine, or object storage by its URL (extra ``storage``).

The path of a URL is fsspec's ``UPath``, which has the methods of :class:`pathlib.Path`. What differs is here: an object is put
whole, in one request, and needs no temporary name; a claim is an object that is only put where there is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from afa_bench.log import LOG

THREADS: Final = 32
"""Requests to a storage at the same time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def storage(path: Path) -> Any:
    """The fsspec file system that a URL's path lies in; None for a path of this machine."""
    return getattr(path, "fs", None)


def names(folder: Path) -> set[str]:
    """The names of all that is in a folder; none where there is no folder."""
    try:
        if (fs := storage(folder)) is None:
            return set(os.listdir(folder))
        return {name.rstrip("/").rpartition("/")[2] for name in fs.ls(key(folder), detail=False)}
    except FileNotFoundError:
        return set()


def each(folder: Path, work: Callable[[Item], Result], items: Sequence[Item]) -> Sequence[Result]:
    """What work on items makes of them: many at a time where they lie at a URL, since most of it is waiting."""
    if storage(folder) is None:
        return [work(item) for item in items]
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(work, items))


def key(path: Path) -> str:
    """What a URL's file system calls a path of it."""
    name: str = path.path  # type: ignore[attr-defined]
    return name


def put(path: Path, data: bytes) -> None:
    """Write a URL's object.

    Raises:
        OSError: it cannot be written.
    """
    with failing():
        storage(path).pipe_file(key(path), data)


def create(path: Path, data: bytes) -> bool:
    """Write a small file or object where there is none, which only one process can. False: there is one.

    Raises:
        OSError: it cannot be written.
    """
    if (fs := storage(path)) is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        except BaseException:  # a full disk or a quota, where the beginning is there; a signal
            with suppress(OSError):
                if data.startswith(path.read_bytes()):
                    path.unlink()
            raise
        return True
    with failing():
        try:
            fs.pipe_file(key(path), data, mode="create")
        except FileExistsError:
            with suppress(FileNotFoundError):  # just removed
                return path.read_bytes() == data  # an answer was lost, and the package has put it a second time
            return False
        except OSError as error:
            if _code(error) != "ConditionalRequestConflict":  # S3's word for two at the same time
                return _created_after_a_look(path, data, error)
            return False
    return True


def _created_after_a_look(path: Path, data: bytes, error: OSError) -> bool:
    """What a storage does that has no conditional put, by which :func:`create` failed: two processes may both do it."""
    if _code(error) not in ("NotImplemented", "501"):
        raise error
    _say_unconditional(path.drive or str(path.root))
    if path.exists():
        return False
    put(path, data)
    return True


def _code(error: OSError) -> str:
    """The word of a storage for what went wrong; S3's package has it in the error behind its own."""
    return str(getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", ""))


@cache  # once a process and storage
def _say_unconditional(where: str) -> None:
    LOG.warning("%s: has no conditional put: two processes may make a shard at the same time, to the same bytes", where)


def renew(path: Path, data: bytes) -> None:
    """Write the same bytes again, or only the time of now.

    Raises:
        OSError: it cannot be written, or is gone.
    """
    if storage(path) is None:
        os.utime(path)
        return
    with failing():
        there = path.exists()
    if not there:
        raise FileNotFoundError(path)
    put(path, data)


def changed(path: Path) -> float:
    """When a file or an object was last written, in seconds by the clock of where it lies.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be told.
    """
    if (fs := storage(path)) is None:
        return path.stat().st_mtime
    with failing():
        return float(fs.modified(key(path)).timestamp())


@contextmanager
def failing() -> Iterator[None]:
    """Every failure of a storage is an OSError: each protocol's package has errors of its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(str(error)) from error
