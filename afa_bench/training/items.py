"""The folder of encoded images and captions: a file each, what of it there is, and how it is cleared. Imports no torch.

CACHEDIR.TAG                    says what the folder is, to backup programs too
images/ab/cd....safetensors     an image's latents and sizes, under the fingerprint of all that they depend on
texts/ab/cd....safetensors      what the text encoders say of a caption, likewise
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from afa_bench.checkpoints.header import read_header
from afa_bench.errors import NothingToDoError, UserError
from afa_bench.log import LOG
from afa_bench.store.atomic import read_bytes, write_bytes

Kind = Literal["images", "texts"]

TAG = "CACHEDIR.TAG"
SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55\n# Encoded images and captions of afa-bench train.\n"
"""By the Cache Directory Tagging Specification (bford.info/cachedir)."""

ITEM = re.compile(r"(images|texts)/[0-9a-f]{2}/[0-9a-f]{30}\.safetensors")
EARLIER = re.compile(r"[0-9a-f]{16}/([0-9]{5}|empty)\.safetensors")
"""Of the first layout, which kept 64 pairs in a file; it is not read any more."""


def item_file(cache: Path, kind: Kind, key: str) -> Path:
    """Where an item of a fingerprint is or will be."""
    return cache / kind / key[:2] / f"{key[2:32]}.safetensors"


def is_whole(file: Path) -> bool:
    """Whether an item is there; one that is damaged is said, and counts as if it were not."""
    if not file.exists():
        return False
    try:
        read_header(file)
    except UserError as error:
        LOG.warning("%s: it is encoded again", error)
        return False
    return True


def tag(cache: Path) -> None:
    """Mark a folder as a cache."""
    if not is_tagged(cache):
        write_bytes(cache / TAG, SIGNATURE)


def is_tagged(folder: Path) -> bool:
    return read_bytes(folder / TAG) == SIGNATURE


@dataclass(frozen=True)
class Held:
    """What a cache holds: files of images, of captions, and those of the earlier layout, with the bytes of all."""

    folder: Path
    images: int
    texts: int
    earlier: int
    size: int


def find_caches(place: Path) -> list[Path]:
    """A cache, that of a training's folder, or those of all trainings in a folder.

    Raises:
        NothingToDoError: there is none.
    """
    for folders in ([place], [place / "cache"], sorted(place.glob("*/cache"))):
        if found := [folder for folder in folders if folder.is_dir() and (is_tagged(folder) or any(_files(folder)))]:
            return found
    raise NothingToDoError(f"{place}: no cache of a training; expected one, a training's folder, or one of trainings")


def held(cache: Path) -> Held:
    """Count what a cache holds."""
    counts, size = {"images": 0, "texts": 0, "earlier": 0}, 0
    for file, kind in _files(cache):
        with suppress(FileNotFoundError):  # another process clears it
            size += file.stat().st_size
            counts[kind] += 1
    return Held(cache, **counts, size=size)


def clear(cache: Path) -> None:
    """Remove the items, and the folders that are empty then. What else is in the folder stays.

    Raises:
        UserError: a file that cannot be removed.
    """
    folders = set()
    for file, _ in _files(cache):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{file}: cannot be removed: {error.strerror or error}") from error
        folders |= {file.parent, file.parent.parent} - {cache}
    for folder in sorted(folders, reverse=True):
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def _files(cache: Path) -> Iterator[tuple[Path, str]]:
    """All items of both layouts, and what they are; links to other folders are not followed."""
    for pattern in ("images/*/*.safetensors", "texts/*/*.safetensors", "*/*.safetensors"):
        for file in sorted(cache.glob(pattern)):
            name = file.relative_to(cache).as_posix()
            if file.parent.is_symlink() or (file.parent.parent.is_symlink() and file.parent.parent != cache):
                continue
            if found := ITEM.fullmatch(name):
                yield file, found[1]
            elif EARLIER.fullmatch(name):
                yield file, "earlier"
