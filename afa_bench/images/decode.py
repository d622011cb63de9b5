"""Images as they come: decoded within limits, with an error of one line for what is none."""

from __future__ import annotations

import io
import warnings

from PIL import Image

from afa_bench.errors import UserError

MOST_PIXELS = 89_478_485
"""Pillow's limit (a quarter of a gigabyte of RGB), above which it warns, as an error."""


def decode(data: bytes, where: str) -> Image.Image:
    """An encoded image, in its own mode, its pixels in memory.

    Raises:
        UserError: damaged, no image at all, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MOST_PIXELS:
                raise UserError(f"{where}: too large: expected at most {MOST_PIXELS} pixels: {image.width} x {image.height}")
            image.load()
    except Image.DecompressionBombError as error:
        raise UserError(f"{where}: too large: expected at most {MOST_PIXELS} pixels: {error}") from error
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{where}: not an image, or a damaged one: {error}") from error
    return image
