"""Folders as kohya's trainers have them: the images in ``10_dog`` are of a dog, and are seen ten times an epoch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FOLDER = re.compile(r"([1-9][0-9]{0,5})_(.+)", re.DOTALL)


@dataclass(frozen=True)
class Repeats:
    """A folder's name: the times an epoch that its images are seen, and what they are of."""

    times: int
    subject: str


def repeats_of(files: Sequence[str]) -> Mapping[str, Repeats]:
    """Folder -> what its name says, where all images lie in folders of such names; otherwise none.

    Args:
        files: relative, with ``/``.
    """
    folders = {folder_of(file): FOLDER.fullmatch(folder_of(file)) for file in files}
    if not all(folders.values()):
        return {}
    return {folder: Repeats(int(found[1]), found[2]) for folder, found in folders.items() if found}


def folder_of(file: str) -> str:
    """The first folder on the way to a file; empty where there is none."""
    return file.partition("/")[0] if "/" in file else ""
