"""Who works on what, where several processes share one results folder.

A claim is a file that only one process can create, so that work is done once. Its owner renews it while it works. A claim ends
when it is released, when its process is gone (seen on the same machine), or when nobody has renewed it for :data:`EXPIRES`
seconds of the file system's own clock. If that clock is set forward, a claim may end early; if it is set back, what is from its
future ends, and owners renew theirs in time. Claims save work; they do not guard it: results are the same bytes whoever makes
them, and files are written atomically, so two owners of one piece of work cost time and nothing else.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError
from afa_bench.store.place import changed, create, renew
from afa_bench.store.signals import signals_deferred

RENEWED = 10.0
"""Seconds between renewals."""

LOOKS = 0.05
"""Seconds between two looks at work that somebody else is at for a moment."""

EXPIRES = 120.0
"""Seconds without renewal after which a claim counts for nothing."""


@contextmanager
def claimed(work: Path) -> Iterator[bool]:
    """Claim the work that is named by a path (which need not exist), until the end of the block.

    A claim that is taken over keeps its file and gets a follower: ``<work>.claim.0``, ``.1`` and so on; the last one counts.
    Following is creating a new file, which only one process can.

    Yields:
        True: it is this process's. False: somebody else is at it.

    Raises:
        UserError: the folder cannot be written.
    """
    claim = _Claim(work, json.dumps(_owner()).encode())
    try:
        with signals_deferred():
            mine = claim.take()
        yield mine
    finally:
        try:
            with signals_deferred():
                claim.end()
        except BaseException:  # a signal just before, which is not to leave a claim behind
            claim.end()
            raise


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Claim some work, as :func:`claimed` does, once nobody else is at it.

    Two at once are possible only where a third, which had taken over from a killed process, releases at that very moment.

    Raises:
        UserError: the folder cannot be written.
    """
    while True:
        with claimed(work) as mine:
            if mine:
                yield
                return
        time.sleep(LOOKS)


class _Claim:
    """One process' claim on some work."""

    def __init__(self, work: Path, owner: bytes) -> None:
        self.work = work
        self.owner = owner
        self.files: list[Path] = []
        self.mine = False
        self.ended = threading.Event()
        self.renewal = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> bool:
        """Make the first claim on the work, or the follower of the last one if that counts for nothing; False: it counts.

        Raises:
            UserError: the folder cannot be written.
        """
        self.mine = self._made()
        if self.mine:
            self.renewal.start()
        return self.mine

    def end(self) -> None:
        """Remove what was made; nothing the second time."""
        self.ended.set()
        if self.renewal.ident:
            self.renewal.join()
        if self.mine:
            for file in reversed(self.files):  # the last first: whoever looks meanwhile goes on from what is left
                with suppress(OSError):  # gone, or out of reach: it will expire
                    file.unlink()

    def _made(self) -> bool:
        while True:
            self.files.append(self.work.with_name(f"{self.work.name}.claim.{len(self.files)}"))
            try:
                if create(self.files[-1], self.owner):
                    return True
            except OSError as error:
                raise UserError(f"{self.files[-1]}: cannot be written: {error.strerror or error}") from error
            living = alive(self.files[-1])
            if living:
                return False
            if living is None:
                self.files.pop()

    def _renew(self) -> None:
        while not self.ended.wait(RENEWED):
            try:
                renew(self.files[-1], self.owner)
            except FileNotFoundError:
                return  # taken away: another process thought that this one was gone
            except OSError:
                continue  # perhaps it works the next time


def clock(folder: Path) -> float:
    """The time by the clock that renewals are stamped with, which need not be this machine's, in seconds since 1970."""
    probe = folder / f".clock.{secrets.token_hex(4)}"
    try:
        create(probe, b"")
        return changed(probe)
    finally:
        probe.unlink(missing_ok=True)


def alive(claim: Path, now: Callable[[Path], float] = clock) -> bool | None:
    """Whether a claim counts; None: it is not there, just released.

    Args:
        claim: its file.
        now: the time in a folder, asked where it decides.
    """
    try:
        owner = json.loads(claim.read_text() or "{}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        owner = {}
    if owner.get("machine") == _machine() and owner.get("process"):
        return bool(owner["process"] == _started(owner["pid"]))
    try:
        renewed = changed(claim)
    except FileNotFoundError:
        return None
    return abs(now(claim.parent) - renewed) < EXPIRES  # one from the future was left before a clock was set back


def _owner() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "process": _started(pid), "since": time.time()}


def _machine() -> str:
    """What process numbers belong to: this boot of this machine, and its namespace of processes."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""  # not Linux: claims end by release or by time


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the boot: a later one of the same number began later. None: it is gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] == "Z" else f"{pid}-{after_name[19]}"
