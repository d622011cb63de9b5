"""Who is at work in a results folder, and which claims nobody holds any more: for those who look on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from afa_bench.store.claims import alive


@dataclass(frozen=True)
class Owner:
    """Who is at work.

    Attributes:
        host: its machine's name.
        pid: its process' number there.
        since: when it began, by its own clock, in seconds since 1970: for people to read, never compared.
    """

    host: str
    pid: int
    since: float


def here(folder: Path) -> float:
    """The time by this machine's clock: whoever only looks writes nothing, and so cannot ask the file system's."""
    return time.time()


def active_claims(folder: Path, now: Callable[[Path], float] = here) -> dict[str, Owner]:
    """The names of all work in a folder on which some process is at the moment, and who that is; ``now`` as :func:`alive`'s."""
    names = {path.name.rsplit(".claim.", 1)[0] for path in folder.glob("*.claim.*")}
    last = {name: claims[max(claims)] for name in sorted(names) if (claims := _claims(folder / name))}
    return {name: _owner_of(claim) for name, claim in last.items() if alive(claim, now)}


def expired_claims(folder: Path, now: Callable[[Path], float] = here) -> list[Path]:
    """The files of all claims in a folder that count for nothing; ``now`` as :func:`alive`'s.

    Those of lost processes stay where another has taken over the work: whoever found the first place free would begin it again.
    """
    works = {path.with_name(path.name.rsplit(".claim.", 1)[0]) for path in folder.glob("*.claim.*")}
    found: list[Path] = []
    for claims in map(_claims, sorted(works)):
        if claims and not alive(claims[max(claims)], now):
            found += claims.values()
    return found


def _claims(work: Path) -> dict[int, Path]:
    return {int(path.suffix[1:]): path for path in work.parent.glob(f"{work.name}.claim.*") if path.suffix[1:].isdigit()}


def _owner_of(claim: Path) -> Owner:
    try:
        content = json.loads(claim.read_text())
        return Owner(str(content["host"]), int(content["pid"]), float(content["since"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Owner("?", 0, 0.0)
