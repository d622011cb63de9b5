"""The data folder: fetched files, and the lock file that says what their bytes are. Nothing here makes a connection."""

from __future__ import annotations

from collections.abc import Mapping
from os.path import isfile
from pathlib import Path
from typing import Any

from afa_bench.checkpoints.hashing import hash_file
from afa_bench.errors import NotFetchedError, NotFoundError, UserError
from afa_bench.fetch.layout import HubModel
from afa_bench.fetch.sources import HubFile, HubFiles, Needed, Source, is_sha256
from afa_bench.paths import data_folder
from afa_bench.store.atomic import read_json, write_json

LOCK = "lock.json"
SCHEMA = 1


class Library:
    """The files of a data folder.

    Args:
        folder: the data folder, by default :func:`data_folder`.
        pins: another lock file, to whose sha256 everything is held as well.
    """

    def __init__(self, folder: Path | None = None, pins: Path | None = None) -> None:
        self.folder = folder or data_folder()
        self._pins = read_lock(pins) if pins else {}
        if pins and not self._pins:
            raise NotFoundError(f"{pins}: no such lock file, or an empty one")

    @property
    def lock_file(self) -> Path:
        """Ids, revisions, sizes and sha256 of all that was ever fetched into the folder."""
        return self.folder / LOCK

    def path(self, source: Source) -> Path:
        """Where a source lies, or will lie.

        Raises:
            UserError: its name leads out of the data folder.
        """
        if ".." in source.path.parts or source.path.is_absolute():
            raise UserError(f"{source.id}: expected a name without '..'")
        return self.folder / source.path

    def pinned(self, source: Source) -> Mapping[str, Any]:
        """The lock file's entry for a source: ``sha256``, ``size``, ``revision`` (a commit, or null); empty where there is none.

        Raises:
            UserError: the sha256 known beforehand, the given lock file and the folder's own contradict each other.
        """
        entry = {**read_lock(self.lock_file).get(source.id, {})}
        for other, whose in ((self._pins.get(source.id, {}), "the lock file given"), ({"sha256": source.sha256}, "afa-bench")):
            if not other.get("sha256"):
                continue
            if entry.get("sha256", other["sha256"]) != other["sha256"]:
                raise UserError(
                    f"{source.id}: {whose} pins sha256 {other['sha256']}, but {self.lock_file} has {entry['sha256']}: "
                    f"this is another version of the file"
                )
            entry |= other
        return entry

    def find(self, source: Source) -> Path | None:
        """The file in the data folder, else in the hub's own cache (``HF_HOME``), else None. It is not checked."""
        path = self.path(source)
        if isfile(path):  # False, and no error, below a folder that may not be read
            return path
        return _in_hub_cache(source, self.pinned(source).get("revision"))

    def locate(self, source: Source) -> Path:
        """The file, its bytes checked against every sha256 that is known for it.

        Raises:
            UserError: it is not there, or it is another file than the one that was pinned.
        """
        path = self.find(source)
        if path is None:
            raise NotFetchedError(f"{source.id}: not fetched yet (expected {self.path(source)}); afa-bench fetch gets it")
        expected = self.pinned(source).get("sha256")
        if expected and (found := hash_file(path)) != expected:
            raise UserError(f"{path}: not the file that is pinned for {source.id}: expected sha256 {expected}, found {found}")
        return path

    def files(self, needed: Needed, listings: Mapping[str, Any] | None = None) -> list[HubFile] | list[Source]:
        """The single files that something needed stands for: for a pattern those that the lock file (or ``listings``) has.

        Raises:
            UserError: a pattern which was never fetched, or which matches nothing.
        """
        if not isinstance(needed, HubFiles):
            return [needed]
        entry = (listings or {}).get(needed.id) or self._listing(needed)
        if entry is None:
            raise NotFetchedError(f"{needed.id}: not fetched yet; afa-bench fetch gets it")
        found = needed.files(entry["files"], entry["revision"])
        if not found:
            raise UserError(f"{needed.id}: no file of this pattern in {needed.page}")
        return found

    def listed(self, needed: HubFiles) -> bool:
        """Whether it is known here which files a pattern stands for."""
        return self._listing(needed) is not None

    def _listing(self, needed: HubFiles) -> Mapping[str, Any] | None:
        """By the lock file given, or the folder's own. A model that nobody has listed is what is there, if that is all of one."""
        entry = self._pins.get(needed.id) or read_lock(self.lock_file).get(needed.id)
        if entry is not None or not isinstance(needed, HubModel):
            return entry
        for folder in (self.folder / needed.path, _snapshot(needed)):
            names = names_in(folder) if folder else []
            if needed.fits(names, whole=True):
                return {"revision": needed.revision, "files": names}
        return None

    def pin(self, source: Source, sha256: str, size: int, revision: str | None) -> None:
        """Write a fetched file's entry into the lock file."""
        self.write({source.id: {"sha256": sha256, "size": size, "revision": revision}})

    def write(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Add entries to the lock file."""
        write_json(self.lock_file, {"schema": SCHEMA, "files": {**read_lock(self.lock_file), **entries}})


def locate(source: Source) -> Path:
    """A fetched file in the default data folder, or in the hub's cache, checked.

    Raises:
        UserError: see :meth:`Library.locate`.
    """
    return Library().locate(source)


def names_in(folder: Path) -> list[str]:
    """The files in a folder and below, relative to it; none where there is no such folder."""
    return [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a lock file by source id; none where there is no such file.

    Raises:
        UserError: damaged, or of a later version.
    """
    content = read_json(path)
    if content is None:
        return {}
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not isinstance(content.get("files"), dict):
        raise UserError(f"{path}: expected a lock file of schema {SCHEMA}")
    files: dict[str, dict[str, Any]] = content["files"]
    for name, entry in files.items():
        if not isinstance(entry, dict):
            raise UserError(f"{path}: {name}: expected a mapping")
        if "sha256" in entry:
            entry["sha256"] = str(entry["sha256"]).lower()
            if not is_sha256(entry["sha256"]):
                raise UserError(f"{path}: {name}: sha256: expected 64 hexadecimal digits, found {entry['sha256']!r}")
    return files


def _snapshot(needed: HubModel) -> Path | None:
    """The repository in the hub's own cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(needed.repo, revision=needed.revision, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):  # a name that can be none of a repository
        return None


def _in_hub_cache(source: Source, revision: str | None) -> Path | None:
    if not isinstance(source, HubFile):
        return None
    from huggingface_hub import try_to_load_from_cache

    kind = "dataset" if source.kind == "datasets" else "model"
    cached = try_to_load_from_cache(source.repo, source.file, revision=revision or source.revision, repo_type=kind)
    return Path(cached) if isinstance(cached, str) else None
