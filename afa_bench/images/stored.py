"""Real images: in memory, or where they lie, read when they are needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from os.path import isdir
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from PIL import Image

from afa_bench.errors import UserError
from afa_bench.images import seen
from afa_bench.images.decode import decode, opened
from afa_bench.images.modes import COMMON
from afa_bench.images.names import is_hidden, is_image

LARGEST = 256 * 2**20
"""Bytes that an image in an archive may have."""

DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, tarfile.TarError)
"""What reading a damaged archive raises."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An encoded image in a file or in a zip archive.

    Attributes:
        path: the file, or the archive.
        member: the name in the archive; empty for a file.
        identity: what stands for its bytes in fingerprints: pins the bytes without reading them.
    """

    path: Path
    member: str
    identity: str

    def read(self) -> bytes:
        """The encoded bytes.

        Raises:
            UserError: it cannot be read.
        """
        try:
            if not self.member:
                return self.path.read_bytes()
            with _zip(self.path).open(self.member) as file:
                return file.read()
        except DAMAGED as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"{self.name}: cannot be read: {why}") from error

    @property
    def name(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)


Picture: TypeAlias = bytes | StoredImage
"""An encoded image, in one of :data:`decode.FORMATS`."""


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
    return decode(read(picture), picture.name if isinstance(picture, StoredImage) else name, as_seen=True)


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


def in_zip(path: Path) -> dict[str, StoredImage]:
    """The images of a zip archive by their names without folders, identified by name, size and CRC.

    Raises:
        UserError: not a zip archive, a name that is there twice, or an image that is larger than :data:`LARGEST`.
    """
    try:
        entries = [info for info in _zip(path).infolist() if not info.is_dir() and _is_image(info.filename)]
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as a zip archive: {error}") from error
    for info in entries:
        if info.file_size > LARGEST:
            raise UserError(f"{path}: {info.filename}: {info.file_size} bytes, expected an image of at most {LARGEST}")
    found: dict[str, StoredImage] = {}
    for info in entries:
        image = StoredImage(path, info.filename, f"{info.filename}:{info.file_size}:{info.CRC:08x}")
        if (other := found.setdefault(PurePosixPath(info.filename).name, image)) is not image:
            raise UserError(f"{path}: {other.member} and {info.filename}: expected one image of a name")
    return found


def in_tar(path: Path) -> dict[str, StoredImage]:
    """The images of a compressed tar archive by their names without folders, unpacked beside it on first use.

    Raises:
        UserError: not an archive, damaged, a name that is there twice, or an image that is larger than :data:`LARGEST`.
    """
    folder = path.with_name(f"{path.name}.unpacked")
    if not isdir(folder):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        temporary.mkdir()
        try:
            with tarfile.open(path, "r:*") as archive:
                _unpack(path, archive, temporary)
            os.replace(temporary, folder)
        except UserError:
            raise
        except DAMAGED as error:
            raise UserError(f"{path}: cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return {
        file.name: StoredImage(file, "", f"{path.name}/{file.name}:{file.stat().st_size}")
        for file in sorted(folder.iterdir())
        if is_image(file.name)
    }


def _unpack(path: Path, archive: tarfile.TarFile, folder: Path) -> None:
    """Only regular image files, under their bare names: nothing in an archive can lead elsewhere."""
    for member in archive:
        name = PurePosixPath(member.name).name
        if not member.isfile() or not _is_image(member.name):
            continue
        if (folder / name).exists():
            raise UserError(f"{path}: {member.name}: expected one image of a name")
        if member.size > LARGEST:
            raise UserError(f"{path}: {member.name}: {member.size} bytes, expected an image of at most {LARGEST}")
        content = archive.extractfile(member)
        assert content is not None  # a regular file has content
        with content, (folder / name).open("wb") as file:
            shutil.copyfileobj(content, file)


def chosen(pictures: Iterable[Picture | None]) -> list[Picture]:
    """Those that there are."""
    return [picture for picture in pictures if picture is not None]


def _is_image(member: str) -> bool:
    """Whether a file in an archive is an image, and no part of its path is hidden."""
    return is_image(member) and not any(map(is_hidden, PurePosixPath(member).parts))


@lru_cache(maxsize=64)
def _zip(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
