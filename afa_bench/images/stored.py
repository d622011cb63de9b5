"""Real images: in memory, or where they lie, read when they are needed."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from afa_bench.errors import UserError
from afa_bench.images import seen
from afa_bench.images.decode import decode, opened
from afa_bench.images.modes import COMMON

DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What reading a damaged file or zip archive raises."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An encoded image in a file or in an archive.

    Attributes:
        path: the file, or the archive.
        member: the name in the archive; empty for a file.
        identity: what stands for its bytes in fingerprints: of a file its sha256, or empty where nothing is kept by it.
        span: of one in a tar archive: the plain archive, where its bytes begin there, and how many they are.
    """

    path: Path
    member: str
    identity: str
    span: tuple[Path, int, int] | None = None

    def read(self) -> bytes:
        """The encoded bytes.

        Raises:
            UserError: they cannot be read, or are others than those of the identity.
        """
        try:
            if self.member and self.span is None:
                with open_zip(self.path).open(self.member) as file:
                    return file.read()
            plain, start, size = self.span or (self.path, 0, -1)
            with plain.open("rb") as file:
                file.seek(start)
                data = file.read(size)
            if self.identity and hashlib.sha256(data).hexdigest() != self.identity:
                raise ValueError("was changed meanwhile")
            return data
        except DAMAGED as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"{self.name}: cannot be read: {why}") from error

    @property
    def name(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)


class HeldImage(bytes):
    """An encoded image in memory which knows where it is from.

    Attributes:
        name: the place, for an error.
    """

    name: str

    @classmethod
    def of(cls, data: bytes, name: str) -> HeldImage:
        held = cls(data)
        held.name = name
        return held


Picture: TypeAlias = bytes | StoredImage
"""An encoded image, in one of :data:`decode.FORMATS`."""


def name_of(picture: Picture, otherwise: str) -> str:
    """Where a picture is from, for an error; ``otherwise`` where it does not know."""
    return getattr(picture, "name", otherwise)


def read(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else picture.read()


def shown(picture: Picture, name: str) -> Image.Image:
    """A real image as a person sees it, in RGB.

    Args:
        picture: in memory, or where it lies.
        name: of one in memory, for an error.

    Raises:
        UserError: it cannot be read, or is no image.
    """
    return decode(read(picture), name_of(picture, name), as_seen=True)


def is_plain(picture: Picture, square: bool = False) -> bool:
    """Whether there is one way to read it: it is of a common mode, and as scored what a person sees; where asked for, square."""
    try:
        image = opened(read(picture))
        return image.mode in COMMON and not seen.traits(image) and (not square or image.width == image.height)
    except Exception:  # whoever decodes it says so
        return True


def identity(picture: Picture) -> str:
    """What stands for a picture's bytes in fingerprints: their sha256 where they are in memory."""
    return hashlib.sha256(picture).hexdigest() if isinstance(picture, bytes) else picture.identity


def in_file(path: Path) -> StoredImage:
    """A file of its own, identified by its sha256."""
    from afa_bench.checkpoints.hashing import hash_file

    return StoredImage(path, "", hash_file(path))


def chosen(pictures: Iterable[Picture | None]) -> list[Picture]:
    """Those that there are."""
    return [picture for picture in pictures if picture is not None]


@lru_cache(maxsize=64)
def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip archive, opened once in a process."""
    return zipfile.ZipFile(path)
