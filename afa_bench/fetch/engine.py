"""Many files: what is missing and how large it is, then all of it side by side."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from afa_bench.checkpoints.hashing import hash_file
from afa_bench.errors import UserError
from afa_bench.fetch.layout import HubModel
from afa_bench.fetch.library import LOCK, Library, names_in, read_lock
from afa_bench.fetch.sources import Facts, HubFile, HubFiles, Needed, Source, other_file
from afa_bench.fetch.transfer import Client, Patience, Stopped
from afa_bench.store.atomic import writing

RESERVE = 256 * 2**20
"""Bytes of the disk that are left free."""


@dataclass(frozen=True)
class Job:
    """One source and how it stands.

    Attributes:
        size: in bytes, if anyone says.
        have: it lies in the data folder (or the hub's cache) already.
        facts: what the server says, where it was asked.
        problem: why it cannot be had, in a line.
    """

    source: Source
    size: int | None
    have: bool
    facts: Facts = field(default_factory=Facts)
    problem: str | None = None


class Progress(Protocol):
    """What a fetch tells whoever watches it; called from several threads."""

    def advance(self, source: Source, count: int) -> None:
        """So many bytes of a source have come; negative when they have to come again."""

    def done(self, source: Source) -> None:
        """A source is whole."""


class Fetcher:
    """Brings sources into a library.

    Args:
        library: the data folder.
        patience: with servers.
        workers: downloads side by side.
    """

    def __init__(self, library: Library, patience: Patience | None = None, workers: int = 4) -> None:
        self.library = library
        self.workers = workers
        self.stop = threading.Event()
        self.client = Client(patience, self.stop)
        self._locking = threading.Lock()
        self._listings: dict[str, dict[str, Any]] = {}

    def survey(self, needed: Sequence[Needed], folder: Path | None = None) -> list[Job]:
        """What is there and what is missing, with sizes; servers are asked about what is missing, side by side.

        Args:
            needed: files and patterns.
            folder: of files fetched by other means; then no server is asked.

        Raises:
            UserError: pins contradict each other.
        """
        unknown = []
        sources: list[Source] = []
        for need in needed:
            if isinstance(need, Source):
                sources.append(need)
                continue
            try:
                if not self.library.listed(need) and need.id not in self._listings:
                    self._listings[need.id] = self._listing_in(need, folder) if folder else self.client.listing(need)
                sources += self.library.files(need, self._listings)
            except UserError as error:
                unasked = HubFile(repo=need.repo, file=need.pattern, revision=need.revision, kind=need.kind)
                unknown.append(Job(unasked, None, have=False, problem=str(error)))
        unique = list({source.id: source for source in sources}.values())
        with ThreadPoolExecutor(self.workers) as pool:
            found = list(pool.map(lambda source: self._surveyed(source, online=folder is None), unique))
        return [*found, *{job.source.id: job for job in unknown}.values()]

    def _listing_in(self, pattern: HubFiles, folder: Path) -> dict[str, Any]:
        """What a pattern stands for in a folder: as its lock file says, if it is a data folder, else what matches below it."""
        known = read_lock(folder / LOCK).get(pattern.id)
        if known:
            return known
        if isinstance(
            pattern, HubModel
        ):  # the repository's own folder: under its path in a data folder, or that path's last parts
            parts = pattern.path.parts
            places = [folder.joinpath(*parts[start:]) for start in range(len(parts) + 1)]
            folder = next((place for place in places if pattern.fits(names_in(place))), folder)
        return {"revision": pattern.revision, "files": pattern.matching(names_in(folder))}

    def _surveyed(self, source: Source, online: bool) -> Job:
        pinned = self.library.pinned(source)
        path = self.library.find(source)
        if path is not None:
            return Job(source, path.stat().st_size, have=True)
        size = pinned.get("size") or source.size
        if not online:
            return Job(source, size, have=False)
        try:
            facts = self.client.facts(source)
        except UserError as error:
            return Job(source, size, have=False, problem=str(error))
        expected, found = pinned.get("sha256"), facts.sha256
        other = f"{source.id}: {other_file(expected, found)}" if expected and found and found != expected else None
        return Job(source, size or facts.size, have=False, facts=facts, problem=other)

    def require_room(self, jobs: Sequence[Job]) -> None:
        """Refuse a fetch that does not fit on the disk.

        Raises:
            UserError: it does not.
        """
        missing = [job for job in jobs if not job.have]
        needed = sum(job.size or 0 for job in missing) - sum(self._arrived(job.source) for job in missing)
        free = free_bytes(self.library.folder)
        if missing and needed + RESERVE > free:
            raise UserError(f"{self.library.folder}: no room: {gigabytes(needed)} to fetch, {gigabytes(free)} free")

    def _arrived(self, source: Source) -> int:
        path = self.library.path(source)
        part = path.with_name(f"{path.name}.part")
        return part.stat().st_size if part.is_file() else 0

    def run(self, jobs: Sequence[Job], progress: Progress) -> list[UserError]:
        """Fetch what is missing, check and pin it, and check what is there; one that fails does not stop the others.

        Returns:
            A line for each that failed.

        Raises:
            UserError: no room on the disk, before anything is fetched.
            KeyboardInterrupt: what has arrived stays for the next run.
        """
        self.require_room(jobs)
        self._pin_listings()
        failures: list[UserError] = []
        with ThreadPoolExecutor(self.workers) as pool:
            waiting = {pool.submit(self._one, job, progress) for job in jobs}
            try:
                while waiting:
                    finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    failures += [error for future in finished if isinstance(error := future.exception(), UserError)]
                    for future in finished:
                        if not isinstance(future.exception(), UserError):
                            future.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        return failures

    def _one(self, job: Job, progress: Progress) -> None:
        source = job.source
        if job.have:
            path = self.library.locate(source)
            self._pin(source, hash_file(path), path.stat().st_size, None)
            return
        if job.problem:
            raise UserError(job.problem)
        pinned = self.library.pinned(source)
        revision = pinned.get("revision") or job.facts.revision
        expected = pinned.get("sha256") or job.facts.sha256
        try:
            sha256, size = self.client.download(
                source,
                job.facts.url or source.url(revision),
                self.library.path(source),
                expected,
                lambda count: progress.advance(source, count),
            )
        except Stopped:
            return
        self._pin(source, sha256, size, revision)
        progress.done(source)

    def _pin_listings(self) -> None:
        if self._listings:
            self.library.write(self._listings)

    def _pin(self, source: Source, sha256: str, size: int, revision: str | None) -> None:
        with self._locking:
            if self.library.pinned(source).get("size") != size:
                self.library.pin(source, sha256, size, revision)

    def adopt(self, jobs: Sequence[Job], folder: Path) -> list[UserError]:
        """Copy what is missing from a folder of files that were fetched by other means; no connection is made.

        A file is looked for under its path in the data folder, under that path's last parts, and under its bare name.

        Returns:
            A line for each that is not there or is another file than the one pinned.
        """
        self._pin_listings()
        failures: list[UserError] = []
        for job in jobs:
            if job.have:
                continue
            try:
                if job.problem:
                    raise UserError(job.problem)
                self._adopted(job.source, folder)
            except UserError as error:
                failures.append(error)
        return failures

    def problems(self, jobs: Sequence[Job], folder: Path | None) -> list[UserError]:
        """Why :meth:`run`, or :meth:`adopt` where there is a folder, would fail, as far as it is known before.

        Raises:
            UserError: no room on the disk.
        """
        failures = [UserError(job.problem) for job in jobs if job.problem]
        if folder is None:
            self.require_room(jobs)
        for job in jobs if folder else ():
            if not job.have and not job.problem and folder:
                try:
                    self._found_in(folder, job.source)
                except UserError as error:
                    failures.append(error)
        return failures

    def _found_in(self, folder: Path, source: Source) -> Path:
        """Where a source lies among files that were fetched by other means.

        Raises:
            UserError: nowhere.
        """
        parts = source.path.parts
        places = [folder.joinpath(*parts[start:]) for start in range(len(parts))]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise UserError(f"{source.id}: not in {folder}: expected {places[0]} or {places[-1]}")
        return found

    def _adopted(self, source: Source, folder: Path) -> None:
        found = self._found_in(folder, source)
        sha256, expected = hash_file(found), self.library.pinned(source).get("sha256")
        if expected and sha256 != expected:
            raise UserError(f"{found}: not {source.id}: expected sha256 {expected}, found {sha256}")
        with found.open("rb") as original, writing(self.library.path(source)) as copy:
            shutil.copyfileobj(original, copy)
        self._pin(source, sha256, found.stat().st_size, None)


def free_bytes(folder: Path) -> int:
    """Free room on the disk which a folder is on or would be made on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def gigabytes(count: int | None) -> str:
    """Bytes for people: ``3.97 GB``, ``512 kB``."""
    if count is None:
        return "unknown"
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
