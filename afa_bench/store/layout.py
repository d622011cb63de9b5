"""Where everything lies: ``<results>/<suite>/<cell>/``."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

from afa_bench.errors import UserError
from afa_bench.provenance import versions
from afa_bench.store.atomic import json_text, parse_json, read_bytes, write_bytes
from afa_bench.store.claims import alone
from afa_bench.store.place import each, names, storage

SCHEMA = 1
"""Version of every file in a results folder; a reader refuses a later one."""


SEAL = b'{\n "sha256": "'
"""How a versioned JSON file begins; those of earlier versions had no sha256."""

SampleRow: TypeAlias = dict[str, Any]
"""What is known of a sample, column by column."""

ROW: Mapping[str, type | UnionType] = {"sample_id": str, "file": str | None, "error": str | None, "seconds": int | float}
"""What every row of a finished shard has."""

RESERVE = 2**20
"""Bytes that have to be left on the disk beside a shard's images, for its rows and what goes with them."""


@dataclass(frozen=True)
class CellStore:
    """One cell's folder.

    ``cell.json`` what it is and where it came from; ``images/``; ``state/`` what shards have done so far; ``samples.parquet`` a
    row a sample; ``summary.json`` the table's numbers, written last.
    """

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def samples(self) -> Path:
        return self.folder / "samples.parquet"

    def write_about(self, about: dict[str, Any]) -> None:
        write_checked(self.folder / "cell.json", about)

    def about(self) -> dict[str, Any] | None:
        about: dict[str, Any] | None = checked(self.folder / "cell.json")
        return about

    def is_lost(self) -> bool:
        """Whether results are there of which nothing says what they are: ``cell.json`` is gone."""
        return self.folder.is_dir() and not (self.folder / "cell.json").is_file()

    def summary(self) -> dict[str, Any] | None:
        file = self.folder / "summary.json"
        summary: dict[str, Any] | None = checked(file)
        if summary is not None and not all(isinstance(summary.get(key), int) for key in ("samples", "failed")):
            raise UserError(f"{file}: damaged: expected numbers of samples and of failed ones")
        return summary

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``: the cell is complete."""
        write_checked(self.folder / "summary.json", summary)

    def remove_summary(self) -> None:
        """Take the summary away: the cell is not complete any more."""
        (self.folder / "summary.json").unlink(missing_ok=True)

    def shard_rows(self, shard: int) -> list[dict[str, Any]] | None:
        """The rows of a finished shard, or None."""
        file = self.shard(shard)
        content = checked(file)
        if content is None:
            return None
        rows: list[dict[str, Any]] = content.get("rows")
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise UserError(f"{file}: rows: damaged: expected rows with {', '.join(ROW)}")
        return rows

    def rows_of(self, shard: int) -> list[dict[str, Any]]:
        """The rows of a shard that has to be finished.

        Raises:
            UserError: it is not, any more.
        """
        rows = self.shard_rows(shard)
        if rows is None:
            raise UserError(f"{self.shard(shard)}: missing, although its samples were made: run the same command again")
        return rows

    def is_done(self, shard: int, samples: Sequence[str], images: Container[str] | None = None) -> bool:
        """Whether a shard is finished: it has a row for each of these sample ids, in this order, and every image is there.

        Args:
            shard: its number.
            samples: their ids.
            images: the names of all images that are there, where they are known.
        """
        rows = self.shard_rows(shard)
        if rows is None or [row["sample_id"] for row in rows] != list(samples):
            return False
        files = [row["file"] for row in rows if row["file"]]
        return all(file in images if images is not None else (self.images / file).is_file() for file in files)

    def open_shards(self, shards: Sequence[int], samples: Callable[[int], Sequence[str]]) -> list[int]:
        """Which of these shards are not finished, by one look at each folder.

        Args:
            shards: their numbers.
            samples: gives a shard's ids.
        """
        markers, images = names(self.folder / "state"), names(self.images)
        found = [shard for shard in shards if self.shard(shard).name in markers]
        done = each(self.folder, lambda shard: self.is_done(shard, samples(shard), images), found)
        finished = {shard for shard, whole in zip(found, done, strict=True) if whole}
        return [shard for shard in shards if shard not in finished]

    def write_shard(self, shard: int, rows: Sequence[dict[str, Any]]) -> None:
        """Mark a shard as finished, and with which versions. Its images must have been written before."""
        write_checked(self.shard(shard), {"rows": list(rows), "versions": versions()})

    def made_with(self) -> list[Mapping[str, str | None]]:
        """The versions that finished shards were made with, each once; those that do not say it are as ``cell.json`` says."""
        first = ((self.about() or {}).get("provenance") or {}).get("versions")
        found = [(checked(self.shard(shard)) or {}).get("versions", first) for shard in self.shards()]
        return [each for place, each in enumerate(found) if each and each not in found[:place]]

    def remove_shard(self, shard: int) -> None:
        """Take a shard's marker away: it is to be made again."""
        self.shard(shard).unlink(missing_ok=True)

    def shards(self) -> list[int]:
        return sorted(int(path.stem.removeprefix("shard-")) for path in (self.folder / "state").glob("shard-*.json"))

    def features(self, extractor: str, shard: int) -> Path:
        return self.folder / "state" / f"{extractor}-{shard:06d}.npz"

    def check_room(self, images: int) -> None:
        """Make sure, before work begins, that there is room for what it will write: so many bytes of images, and their rows.

        Raises:
            UserError: the disk is full, or nearly so.
        """
        if storage(self.folder) is not None:
            return  # a bucket has no end
        self.folder.mkdir(parents=True, exist_ok=True)
        left = shutil.disk_usage(self.folder).free
        if left < images + RESERVE:
            raise UserError(
                f"{self.folder}: no space left on its disk: {left // 10**6} MB, but the next shard may take "
                f"{(images + RESERVE) / 10**6:.0f} MB; make room, then run the same command again"
            )

    def write_image(self, name: str, png: bytes) -> None:
        write_bytes(self.images / name, png)

    def shard(self, shard: int) -> Path:
        """The marker of a finished shard, with its rows; claims on it lie beside."""
        return self.folder / "state" / f"shard-{shard:06d}.json"


@dataclass(frozen=True)
class PlannedCell:
    """A cell as ``suite.json`` lists it: its folder's name, the table's row and column, and its number of samples."""

    name: str
    group: str
    label: str
    steps: int | None
    samples: int

    @property
    def place(self) -> tuple[str, str, int | None]:
        """Where it stands in a table, which has room for one."""
        return self.group, self.label, self.steps


@dataclass(frozen=True)
class Store:
    """The results of one suite. ``suite.json`` says which cells are planned; a folder a cell."""

    root: Path

    def write_planned(self, suite: str, revision: int, cells: Sequence[PlannedCell], whole: bool = True) -> None:
        """Write ``suite.json``, one process after the other.

        Args:
            suite, revision: whose cells they are.
            cells: what is planned.
            whole: whether these are all; else they join what is there, in place of the same rows and columns.
        """
        places = {cell.place for cell in cells}
        with alone(self.root / "suite.json"):
            others = [] if whole else [cell for cell in self.planned() if cell.place not in places]
            about = {"suite": suite, "revision": revision, "cells": [asdict(cell) for cell in (*others, *cells)]}
            write_checked(self.root / "suite.json", about)

    def planned(self) -> list[PlannedCell]:
        """The cells of ``suite.json``; none where there is no such file, or one of an earlier afa-bench.

        Raises:
            UserError: damaged.
        """
        file = self.root / "suite.json"
        cells = (checked(file) or {}).get("cells", [])
        try:
            return TypeAdapter(list[PlannedCell]).validate_python(cells)
        except ValidationError as error:
            raise UserError(f"{file}: cells: damaged: {error.errors()[0]['msg']}") from error

    def cells(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob("*/cell.json"))

    def cell(self, name: str) -> CellStore:
        return CellStore(self.root / name)

    def references(self, name: str) -> Path:
        return self.root / "references" / f"{name}.npz"

    def prepare(self) -> None:
        """Make the folder and try to write in it, before any work is done.

        Raises:
            UserError: it cannot be written.
        """
        probe = self.root / ".probe"
        write_bytes(probe, b"")
        probe.unlink(missing_ok=True)


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(name in row and isinstance(row[name], kind) for name, kind in ROW.items())


def write_checked(path: Path, content: Mapping[str, Any]) -> None:
    """Write a versioned JSON file atomically; its first line is the sha256 of all bytes after it."""
    rest = json_text({"schema": SCHEMA, **content}).encode()[1:]
    write_bytes(path, SEAL + hashlib.sha256(rest).hexdigest().encode() + b'",' + rest)


def checked(path: Path) -> Any:
    """The content of a versioned JSON file, or None where there is none.

    Raises:
        UserError: damaged, or written by a later version of afa-bench.
    """
    data = read_bytes(path)
    if data is None:
        return None
    content = parse_json(path, data)
    digest, _, rest = data.removeprefix(SEAL).partition(b'",')
    if data.startswith(SEAL) and hashlib.sha256(rest).hexdigest().encode() != digest:
        raise UserError(f"{path}: damaged: its bytes are not those that were written; remove it, and run the suite again")
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise UserError(f"{path}: schema: expected a file written by afa-bench")
    if content["schema"] > SCHEMA:
        raise UserError(f"{path}: schema: expected at most {SCHEMA}, found {content['schema']}: written by a later afa-bench")
    return content
