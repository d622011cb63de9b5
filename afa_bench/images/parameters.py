"""The generation parameters that an image carries: as a PNG's text, or in EXIF's comment."""

from __future__ import annotations

from afa_bench.images import png
from afa_bench.images.decode import opened

KEYWORD = "parameters"
"""Of the text of a PNG."""

EXIF, COMMENT = 0x8769, 0x9286
ENCODINGS = {b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "iso2022_jp"}
UTF16 = b"UNICODE\0"


def parameters(data: bytes) -> str | None:
    """The text that web UIs put into an encoded image, or None.

    Raises:
        ValueError: it is there and cannot be read.
    """
    if data.startswith(png.SIGNATURE):
        return png.texts(data).get(KEYWORD)
    try:
        comment = opened(data).getexif().get_ifd(EXIF).get(COMMENT)
    except Exception as error:  # decoders raise nearly everything
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(comment, bytes):
        return comment if isinstance(comment, str) and comment else None
    mark, text = comment[:8], comment[8:]
    if mark == UTF16:  # in either order of bytes: the upper ones are zero more often
        decoded = text.decode("utf-16-be" if text[0::2].count(0) >= text[1::2].count(0) else "utf-16-le")
    else:
        decoded = text.decode(ENCODINGS[mark]) if mark in ENCODINGS else comment.decode("utf-8")
    return decoded.strip("\0") or None
