"""Archives: complete or refused, and every file in them known by its bytes.

A zip archive, and a plain tar archive, are read where they lie. A compressed tar archive is unpacked once, to a plain one beside
it whose name has the hash of what it is made of: another archive of the same name is another one.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias

from afa_bench.errors import UserError, unreadable
from afa_bench.images.names import is_hidden, is_image
from afa_bench.images.stored import DAMAGED, StoredImage, open_zip
from afa_bench.paths import cache_folder
from afa_bench.store.atomic import write_bytes, writing
from afa_bench.store.claims import alone

LARGEST = 256 * 2**20
"""Bytes that an image in an archive may have."""

UNPACKED = ".unpacked"
"""Ends the name of a plain archive that was made of a compressed one."""

PACKED: Mapping[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""How compressed files begin, and what reads them."""

BLOCK = 512
"""Bytes: a tar archive consists of such blocks, and ends with one of zeros."""

HIDDEN, NO_FILES = "hidden", "links and other members that are no files"

File: TypeAlias = tuple[int, int, str]
"""Where a file's bytes begin in a plain archive, how many they are, and their sha256."""


@dataclass(frozen=True)
class Tar:
    """What is in a tar archive.

    Attributes:
        path: the archive.
        plain: the same, or the plain one that was made of it.
        files: the regular files by their names, with folders, which begin with no ``./``; in the archive's order.
        left: what is not read, by kind: hidden files, and links and the like.
    """

    path: Path
    plain: Path
    files: Mapping[str, File]
    left: Mapping[str, Sequence[str]]

    @property
    def images(self) -> list[str]:
        """The names of the images."""
        return [name for name in self.files if is_image(name)]

    def image(self, name: str) -> StoredImage:
        """An image, where it lies.

        Raises:
            UserError: it is larger than :data:`LARGEST`.
        """
        _require_size(self.path, name, self.files[name][1])
        return self._stored(name)

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            UserError: they cannot be read, or are others than they were.
        """
        return self._stored(name).read()

    def _stored(self, name: str) -> StoredImage:
        start, size, sha256 = self.files[name]
        return StoredImage(self.path, name, sha256, (self.plain, start, size))


def read_tar(path: Path) -> Tar:
    """Look through a tar archive, plain or compressed by gzip, bzip2 or xz; what is in a large one is remembered.

    Raises:
        UserError: it cannot be read, is damaged or cut short, has something after its end, or a name twice.
    """
    from afa_bench.checkpoints.hashing import hash_file

    return _tar(path, hash_file(path))


def in_tar(path: Path) -> dict[str, StoredImage]:
    """The images of a tar archive by their names without folders.

    Raises:
        UserError: as :func:`read_tar`; a name that is there twice, or an image that is larger than :data:`LARGEST`.
    """
    tar = read_tar(path)
    return _by_bare_names(path, map(tar.image, tar.images))


def in_zip(path: Path) -> dict[str, StoredImage]:
    """The images of a zip archive by their names without folders, identified by name, size and CRC.

    Raises:
        UserError: not a zip archive, a name that is there twice, or an image that is larger than :data:`LARGEST`.
    """
    try:
        entries = [info for info in open_zip(path).infolist() if not info.is_dir() and is_image(info.filename)]
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as a zip archive: {error}") from error
    entries = [info for info in entries if not _is_hidden(info.filename)]
    for info in entries:
        _require_size(path, info.filename, info.file_size)
    images = (StoredImage(path, info.filename, f"{info.filename}:{info.file_size}:{info.CRC:08x}") for info in entries)
    return _by_bare_names(path, images)


def _by_bare_names(path: Path, images: Iterable[StoredImage]) -> dict[str, StoredImage]:
    found: dict[str, StoredImage] = {}
    for image in images:
        if (other := found.setdefault(PurePosixPath(image.member).name, image)) is not image:
            raise UserError(f"{path}: {other.member} and {image.member}: expected one image of a name")
    return found


def _require_size(path: Path, name: str, size: int) -> None:
    if size > LARGEST:
        raise UserError(f"{path}: {name}: {size} bytes, expected an image of at most {LARGEST}")


def _is_hidden(name: str) -> bool:
    return any(map(is_hidden, PurePosixPath(name).parts))


@lru_cache(maxsize=64)
def _tar(path: Path, sha256: str) -> Tar:
    """An archive of these bytes."""
    from afa_bench.checkpoints.hashing import LARGE

    plain = _plain(path, sha256)
    note = cache_folder() / "archives" / f"{sha256[:32]}.json" if plain.stat().st_size >= LARGE else None
    if note and (known := _remembered(note, path, plain)):
        return known
    try:
        with plain.open("rb") as data:
            found = _scanned(path, plain, data)
    except (*DAMAGED, tarfile.TarError, ArithmeticError, MemoryError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: expected a whole tar archive, plain or compressed by gzip, bzip2 or xz: {error}") from error
    if note:
        with suppress(UserError):  # a cache folder that cannot be written costs time, no more
            write_bytes(note, json.dumps([plain.stat().st_size, found.files, found.left]).encode())
    return found


def _remembered(note: Path, path: Path, plain: Path) -> Tar | None:
    try:
        size, files, left = json.loads(note.read_bytes())
        if size == plain.stat().st_size:
            return Tar(path, plain, {name: (start, length, digest) for name, (start, length, digest) in files.items()}, left)
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    return None


def _plain(path: Path, sha256: str) -> Path:
    """The archive itself, or the plain one that is made of it where there is none yet; processes wait for each other."""
    try:
        with path.open("rb") as file:
            head = file.read(6)
    except OSError as error:
        raise unreadable(path, error) from error
    opened = next((opened for magic, opened in PACKED.items() if head.startswith(magic)), None)
    if opened is None:
        return path
    plain = path.with_name(f"{path.name}.{sha256[:16]}{UNPACKED}")
    if not plain.is_file():
        with alone(plain):
            if not plain.is_file():
                with writing(plain) as file:
                    _unpack(path, opened, file)
    return plain


def _unpack(path: Path, opened: Callable[[Path], Any], file: BinaryIO) -> None:
    try:
        with opened(path) as packed:
            shutil.copyfileobj(packed, file, 2**20)
    except (gzip.BadGzipFile, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path}: damaged or cut short: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be unpacked beside it: {error.strerror or error}") from error


def _scanned(path: Path, plain: Path, data: BinaryIO) -> Tar:
    files: dict[str, File] = {}
    left: dict[str, list[str]] = {}
    latest = -1
    with tarfile.open(fileobj=data, mode="r:") as archive:
        for member in archive:
            if member.offset <= latest or member.size < 0:
                raise UserError(f"{path}: damaged: a header at byte {member.offset} leads backwards")
            latest = member.offset
            name = _name(path, member.name)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                left.setdefault(NO_FILES, []).append(name)
            elif _is_hidden(name):
                left.setdefault(HIDDEN, []).append(name)
            elif name in files:
                raise UserError(f"{path}: {name}: is in it twice: expected one file of a name")
            else:
                files[name] = (member.offset_data, member.size, _digest(data, member.offset_data, member.size))
        _require_end(path, data, archive.offset, len(files))
    return Tar(path, plain, files, left)


def _name(path: Path, name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: {name!r}: a name that is not UTF-8: expected another") from None
    return PurePosixPath(name).as_posix()


def _digest(data: BinaryIO, start: int, size: int) -> str:
    data.seek(start)
    digest = hashlib.sha256()
    while size > 0 and (part := data.read(min(size, 2**20))):
        digest.update(part)
        size -= len(part)
    if size:
        raise ValueError("it is cut short")
    return digest.hexdigest()


def _require_end(path: Path, data: BinaryIO, end: int, count: int) -> None:
    """Raise a UserError where an archive's last file is not followed by its end, and by nothing else.

    Python's reader ends without a word at whatever is no header.
    """
    data.seek(end)
    mark = data.read(BLOCK)
    if len(mark) < BLOCK:
        raise UserError(f"{path}: cut short: it ends after {count} files without the mark of an archive's end")
    if mark.strip(b"\0"):
        raise UserError(f"{path}: damaged: after {count} files, at byte {end}, no header and no end")
    while rest := data.read(2**20):
        if rest.strip(b"\0"):
            raise UserError(f"{path}: goes on after its end: expected one archive, and not several one after the other")
