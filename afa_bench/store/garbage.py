"""What a results folder holds that is no result and that no process will use: kills and changes of a suite leave it behind."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from afa_bench.errors import NothingToDoError, UserError
from afa_bench.store.claims import EXPIRES
from afa_bench.store.layout import CellStore, Store
from afa_bench.store.owners import active_claims, expired_claims, here
from afa_bench.store.place import changed, key, storage
from afa_bench.store.reads import reads

HALF = re.compile(r"\..+\.[0-9a-f]{8}\.part|\.clock\.[0-9a-f]{8}|\.probe")
"""Names that files have while they are written."""

CLAIM = re.compile(r"(suite\.json|scoring|shard-\d{6,}\.json)\.claim\.\d+")

FEATURES = re.compile(r".+-(\d{6,})\.npz")


@dataclass(frozen=True)
class Garbage:
    """A file or folder that nothing needs, and why."""

    path: Path
    reason: str


@reads
def find_garbage(root: Path, now: Callable[[Path], float] = here) -> list[Garbage]:
    """What may be removed from a suite's results. What processes that are at work may still need is left out, and all results.

    Only the folders that runs write into are looked at, never what else lies beside or below them.

    Args:
        root: such as ``results/mini``.
        now: the time in a folder: by this machine's clock, which writes nothing; whoever removes asks the folder's own
            (:func:`afa_bench.store.claims.clock`).

    Raises:
        UserError: no results in it (exit code 3), or a damaged file.
    """
    store = Store(root)
    planned = {cell.name for cell in store.planned()}
    if not planned and not store.cells():
        raise NothingToDoError(f"{root}: no results in it")
    folders = _folders(store, {*planned, *store.cells()})
    claims = [claim for folder in folders for claim in expired_claims(folder, now) if CLAIM.fullmatch(claim.name)]
    found = [*_half_files(folders, now(root)), *(Garbage(claim, "claim of a process that is gone") for claim in claims)]
    for name in store.cells():
        files = store.cell(name)
        busy = active_claims(files.folder / "state", now)
        if planned and name not in planned and not busy and files.summary() is None:
            found = [garbage for garbage in found if not garbage.path.is_relative_to(files.folder)]
            found.append(Garbage(files.folder, "unfinished, and no cell of the suite any more"))
        elif not busy:
            found += _features(files)
    return found


@reads
def find_dropped(root: Path) -> list[Garbage]:
    """The finished cells that ``suite.json`` does not list: results, though the suite no longer has them. None without that file.

    They are of a suite before it was changed, or of ``run --steps`` and ``--group`` before the whole suite was run.

    Args:
        root: such as ``results/mini``.

    Raises:
        UserError: a damaged file.
    """
    store = Store(root)
    planned = store.planned()
    names, places = {cell.name for cell in planned}, {cell.place: cell.name for cell in planned}
    found = []
    for name in store.cells() if planned else []:
        files = store.cell(name)
        if name not in names and files.summary() is not None and not active_claims(files.folder / "state"):
            about = files.about() or {}
            other = places.get((about.get("group", ""), about.get("label", ""), about.get("steps")))
            instead = f"; it has {other} in its place" if other else ""
            found.append(Garbage(files.folder, f"finished, but no longer in the suite{instead}"))
    return found


def remove_garbage(garbage: list[Garbage]) -> None:
    """Remove it for good.

    Raises:
        UserError: something cannot be removed.
    """
    for path in (one.path for one in garbage):
        try:
            if (fs := storage(path)) is not None:
                fs.rm(key(path), recursive=True)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be removed: {error.strerror}") from error


def _folders(store: Store, cells: Iterable[str]) -> list[Path]:
    """Where runs write."""
    own = [(files.folder, files.images, files.folder / "state") for files in map(store.cell, sorted(cells))]
    return [store.root, store.root / "references", *(folder for folders in own for folder in folders)]


def _half_files(folders: Sequence[Path], now: float) -> Iterator[Garbage]:
    """What a kill has left half written; a file that is being written is younger."""
    for path in sorted(path for folder in folders for path in folder.glob(".*")):
        if HALF.fullmatch(path.name) and now - changed(path) > EXPIRES:
            yield Garbage(path, "half written")


def _features(files: CellStore) -> Iterator[Garbage]:
    """Features of shards whose images are not there, or not all."""
    kept: dict[int, bool] = {}
    for path in sorted((files.folder / "state").glob("*.npz")):
        if match := FEATURES.fullmatch(path.name):
            shard = int(match[1])
            if shard not in kept:
                rows = files.shard_rows(shard)
                kept[shard] = rows is not None and files.is_done(shard, [row["sample_id"] for row in rows])
            if not kept[shard]:
                yield Garbage(path, "features without their images")
