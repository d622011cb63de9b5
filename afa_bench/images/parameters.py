"""The generation parameters that an image carries: as a PNG's text, or in EXIF's comment."""

from __future__ import annotations

from PIL import Image

from afa_bench.images import png
from afa_bench.images.decode import opened

KEYWORD = "parameters"
"""Of the text of a PNG."""

EXIF, COMMENT = 0x8769, 0x9286
ENCODINGS = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "iso2022_jp"}


def parameters(data: bytes) -> str | None:
    """The text that web UIs put into an encoded image, or None.

    Raises:
        ValueError: it is there and cannot be read.
    """
    if data.startswith(png.SIGNATURE):
        return png.texts(data).get(KEYWORD)
    try:
        comment = _comment(opened(data))
    except (OSError, SyntaxError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(comment, bytes):
        return comment if isinstance(comment, str) and comment else None
    encoding = ENCODINGS.get(comment[:8])
    return (comment[8:].decode(encoding) if encoding else comment.decode("utf-8")).strip("\0") or None


def _comment(image: Image.Image) -> object:
    return image.getexif().get_ifd(EXIF).get(COMMENT)
