"""PNG's chunks: what is damaged is seen by its checksum, texts of any size are read apart from the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
LARGEST = 64 * 2**20
"""Bytes that a compressed text or colour profile may unfold to."""

Chunk = tuple[bytes, bytes]
"""Its type and its content."""


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG file, up to its end mark; what follows that is no part of it.

    Raises:
        ValueError: it is cut off, or the checksum of a chunk that the pixels need is wrong.
    """
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        end = place + 12 + length
        if end > len(data):
            break
        if not kind[0] & 0x20 and zlib.crc32(kind + content) != struct.unpack_from(">I", data, end - 4)[0]:  # a critical chunk
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")
        yield kind, content
        if kind == b"IEND":
            return
        place = end
    raise ValueError("it is cut off")


def bare(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG file without texts and colour profile, whose sizes Pillow limits, and the profile.

    Raises:
        ValueError: as :func:`chunks`.
    """
    found = list(chunks(data))
    profile = next((_profile(content) for kind, content in found if kind == b"iCCP"), None)
    kept = [(kind, content) for kind, content in found if kind not in (*TEXTS, b"iCCP")]
    kept.sort(
        key=lambda chunk: (chunk[0] != b"IHDR", chunk[0] != b"eXIf")
    )  # EXIF may follow the pixels: it is to be known before
    return SIGNATURE + b"".join(_packed(*chunk) for chunk in kept), profile


def texts(data: bytes) -> dict[str, str]:
    """The texts of a PNG file by their keywords, the first of each; none of a file that is no PNG.

    Raises:
        ValueError: as :func:`chunks`, or a text that cannot be unpacked.
    """
    found: dict[str, str] = {}
    for kind, content in chunks(data) if data.startswith(SIGNATURE) else ():
        if kind in TEXTS:
            keyword, _, rest = content.partition(b"\0")
            found.setdefault(keyword.decode("latin-1"), _text(kind, rest))
    return found


def _packed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _text(kind: bytes, rest: bytes) -> str:
    if kind == b"tEXt":
        try:
            return rest.decode("utf-8")  # not by the standard, but written by many
        except UnicodeDecodeError:
            return rest.decode("latin-1")
    if kind == b"zTXt":
        return unpacked(rest[1:]).decode("latin-1")
    packed, (_, _, text) = rest[:1] == b"\1", _split(rest[2:])
    return (unpacked(text) if packed else text).decode("utf-8")


def _split(rest: bytes) -> tuple[bytes, bytes, bytes]:
    language, _, rest = rest.partition(b"\0")
    translated, _, text = rest.partition(b"\0")
    return language, translated, text


def _profile(content: bytes) -> bytes | None:
    try:
        return unpacked(content.partition(b"\0")[2][1:])
    except ValueError:
        return None  # as viewers do: the pixels are whole


def unpacked(packed: bytes) -> bytes:
    """What zlib has packed.

    Raises:
        ValueError: damaged, or more than :data:`LARGEST` bytes.
    """
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(packed, LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError(f"cut off, or more than {LARGEST} bytes")
    return found
