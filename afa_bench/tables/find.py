"""Which folder of results a word on the command line means."""

from __future__ import annotations

from pathlib import Path

from afa_bench.errors import NotFoundError, NothingToDoError, suggest
from afa_bench.paths import shipped
from afa_bench.store.locate import place
from afa_bench.store.reads import reads

HERE = Path("results")


@reads
def find_results(name: str | None, here: Path = HERE) -> Path:
    """A suite's results: a folder, its URL, or a suite's name ``here`` or among those shipped; without one, the latest ``here``.

    A folder in which one suite lies, and no more, is that suite's.

    Raises:
        NotFoundError: none of that name.
        NothingToDoError: nothing ``here`` to choose from.
    """
    mine, known = suites_in(here), all_suites(here)
    if name is None:
        if not mine:
            hint = f"; results that come with afa-bench: {', '.join(known)}" if known else ""
            raise NothingToDoError(f"{here}: no results yet: `afa-bench run SUITE` makes them{hint}")
        return max(mine.values(), key=lambda folder: (_written(folder), folder.name))
    folder = place(name)
    if name in known and not any(folder.glob("*/cell.json")):
        return known[name]
    if not folder.is_dir():
        raise NotFoundError(f"{name}: no such folder, and no suite of this name has results: {suggest(name, known)}")
    inside = suites_in(folder)
    return next(iter(inside.values())) if len(inside) == 1 and not any(folder.glob("*/cell.json")) else folder


def all_suites(here: Path = HERE) -> dict[str, Path]:
    """The suites that have results, shipped ones and those ``here``, which go first: name -> folder."""
    return suites_in(shipped("results")) | suites_in(here)


@reads
def suites_in(folder: Path) -> dict[str, Path]:
    """The suites that have results in a folder: name -> folder, by name."""
    if not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir()) if any(path.glob("*/cell.json"))}


def _written(folder: Path) -> float:
    return max(file.stat().st_mtime for file in folder.glob("*/*.json"))
