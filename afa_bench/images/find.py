"""The one walk through a folder of images: which files are images, in which order, and what is passed over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from afa_bench.errors import UserError
from afa_bench.images.names import is_hidden, is_image

BESIDE = (
    ".txt",
    ".caption",
    ".json",
    ".jsonl",
    ".csv",
    ".tsv",
    ".parquet",
    ".npz",
    ".csv.gz",
    ".tsv.gz",
    ".jsonl.gz",
)
"""Files that lie beside images and are not meant to be one."""

IMAGE, TEXT, FOLDER, HIDDEN, LOOPS = "image", "text", "folder", "hidden", "links into themselves"
SHOWN = 3
"""Names that stand for all that were passed over."""


@dataclass(frozen=True)
class Found:
    """What is in a folder and in those below it.

    Attributes:
        folder: which.
        files: the images, relative to it, with ``/``; in the order of their names as text.
        beside: the files of texts and tables, likewise.
        skipped: what was passed over, by kind: hidden files and folders, links into themselves, files of other suffixes.
    """

    folder: Path
    files: Sequence[str]
    beside: Sequence[str]
    skipped: Mapping[str, Sequence[str]]

    @property
    def paths(self) -> list[Path]:
        """The images."""
        return [self.folder / file for file in self.files]

    @property
    def notes(self) -> list[str]:
        """What was passed over, in one line."""
        return [f"{self.folder}: not read: {counted(self.skipped)}"] if self.skipped else []


def find_images(folder: Path, what: str = "") -> Found:
    """Look through a folder; linked folders are followed.

    Args:
        folder: where.
        what: an option, for the error's first words.

    Raises:
        UserError: no such folder, one that cannot be read, or a name that is not UTF-8.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {f'{what}: ' if what else ''}no such folder")
    files: list[str] = []
    beside: list[str] = []
    skipped: dict[str, list[str]] = {}
    waiting: list[tuple[str, tuple[Place, ...]]] = [("", ())]
    while waiting:
        prefix, above = waiting.pop()
        entries, here = _listed(folder / prefix)
        if here in above:
            skipped.setdefault(LOOPS, []).append(prefix.rstrip("/"))
            continue
        for entry in entries:
            name, kind = prefix + entry.name, _kind(entry)
            if kind == FOLDER:
                waiting.append((f"{name}/", (*above, here)))
            elif kind in (IMAGE, TEXT):
                (files if kind == IMAGE else beside).append(name)
            else:
                skipped.setdefault(kind, []).append(name)
    for names in (files, beside):
        names.sort(key=lambda file: file.split("/"))
    return Found(folder, files, beside, {kind: sorted(skipped[kind]) for kind in sorted(skipped)})


def counted(kinds: Mapping[str, Sequence[str]]) -> str:
    """How many there are of each kind, with some of their names."""
    return ", ".join(f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names)


def by_suffix(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by their suffixes, as kinds for :func:`counted`."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(names):
        kinds.setdefault(PurePosixPath(name).suffix.lower() or "without suffix", []).append(name)
    return {kind: kinds[kind] for kind in sorted(kinds)}


def some(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


Place: TypeAlias = tuple[int, int]
"""A folder's device and number: the same, whatever way leads there."""


def _listed(folder: Path) -> tuple[list[os.DirEntry[str]], Place]:
    try:
        status = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error
    for entry in entries:
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{folder}: {os.fsencode(entry.name)!r}: a name that is not UTF-8: expected another") from None
    return entries, (status.st_dev, status.st_ino)


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry of a folder is: an image (or a link to one that is gone), a text, a folder, or what is passed over."""
    if is_hidden(entry.name):
        return HIDDEN
    path = Path(entry.path)
    if path.is_dir():
        return FOLDER
    if is_image(entry.name):
        return IMAGE if path.is_file() or not path.exists() else "no files"
    if entry.name.lower().endswith(BESIDE) and path.is_file():
        return TEXT
    return path.suffix.lower() or "without suffix"
