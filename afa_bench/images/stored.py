"""Real images: in memory, or where they lie, read when they are needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from os.path import isdir
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from afa_bench.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
LARGEST = 256 * 2**20
"""Bytes that an image in an archive may have."""


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
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.path}: {self.member or 'image'}: cannot be read: {error}") from error


Picture: TypeAlias = bytes | StoredImage
"""An encoded PNG, JPEG or WebP image."""


def read(picture: Picture) -> bytes:
    """The encoded bytes of a picture."""
    return picture if isinstance(picture, bytes) else picture.read()


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
        UserError: not a zip archive, or an image in it is larger than :data:`LARGEST`.
    """
    try:
        entries = [info for info in _zip(path).infolist() if PurePosixPath(info.filename).suffix.lower() in SUFFIXES]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as a zip archive: {error}") from error
    for info in entries:
        if info.file_size > LARGEST:
            raise UserError(f"{path}: {info.filename}: {info.file_size} bytes, expected an image of at most {LARGEST}")
    return {
        PurePosixPath(info.filename).name: StoredImage(path, info.filename, f"{info.filename}:{info.file_size}:{info.CRC:08x}")
        for info in entries
    }


def in_tar(path: Path) -> dict[str, StoredImage]:
    """The images of a compressed tar archive by their names without folders, unpacked beside it on first use.

    Raises:
        UserError: not an archive, damaged, or an image in it is larger than :data:`LARGEST`.
    """
    folder = path.with_name(f"{path.name}.unpacked")
    if not isdir(folder):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        temporary.mkdir()
        try:
            with tarfile.open(path, "r:*") as archive:
                _unpack(path, archive, temporary)
            os.replace(temporary, folder)
        except (OSError, tarfile.TarError, EOFError) as error:
            raise UserError(f"{path}: cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return {
        file.name: StoredImage(file, "", f"{path.name}/{file.name}:{file.stat().st_size}") for file in sorted(folder.iterdir())
    }


def _unpack(path: Path, archive: tarfile.TarFile, folder: Path) -> None:
    """Only regular image files, under their bare names: nothing in an archive can lead elsewhere."""
    for member in archive:
        name = PurePosixPath(member.name).name
        if not member.isfile() or PurePosixPath(name).suffix.lower() not in SUFFIXES:
            continue
        if member.size > LARGEST:
            raise UserError(f"{path}: {member.name}: {member.size} bytes, expected an image of at most {LARGEST}")
        content = archive.extractfile(member)
        assert content is not None  # a regular file has content
        with content, (folder / name).open("wb") as file:
            shutil.copyfileobj(content, file)


def chosen(pictures: Iterable[Picture | None]) -> list[Picture]:
    """Those that there are."""
    return [picture for picture in pictures if picture is not None]


@lru_cache(maxsize=64)
def _zip(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
