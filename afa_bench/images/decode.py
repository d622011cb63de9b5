"""Images as they come: decoded within limits, with an error of one line for what is none.

There are two ways to read one. *As scored* is how the official loops of the metrics read it: in its own mode, its first frame,
without the camera's orientation, transparency and colour profile, which each preprocessing drops in its own way. *As seen* is RGB
as a viewer shows it on white (:mod:`afa_bench.images.seen`): how every real image is read.
"""

from __future__ import annotations

import io
import warnings

from PIL import Image, UnidentifiedImageError

from afa_bench.errors import UserError
from afa_bench.images import png, seen
from afa_bench.images.modes import eight_bits

MOST_PIXELS = 89_478_485
"""Pillow's limit (a quarter of a gigabyte of RGB), above which it warns, as an error."""

MOST_STRETCHED = 200
"""Times that an image may be longer than wide, or wider than long: networks resize by the shorter side, so that a line of pixels
would become billions of them."""

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "GIF")
"""As Pillow calls them. Others are not tried: some of them (EPS) run programs."""


def decode(data: bytes, where: str, as_seen: bool = False) -> Image.Image:
    """An encoded image, its pixels in memory, at eight bits a channel.

    Args:
        data: a file's bytes, in one of :data:`FORMATS`.
        where: names it in an error.
        as_seen: RGB as a viewer shows it; otherwise in its own mode, of :data:`modes.COMMON`.

    Raises:
        UserError: damaged, no image at all, too large, too narrow, or of pixels whose range it does not say.
    """
    try:
        image = opened(data)
        if as_seen and getattr(image, "default_image", False):
            image.seek(1)  # an APNG's frame 0 stands in where animations are not shown
        image.load()
        image = eight_bits(image)
        return seen.as_seen(image) if as_seen else image
    except UnsuitableError as error:
        raise UserError(f"{where}: {error}") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{where}: not an image, or a damaged one: expected {', '.join(FORMATS)}") from error
    except Exception as error:  # decoders raise nearly everything: OSError, ValueError, SyntaxError, RuntimeError, TypeError ...
        raise UserError(f"{where}: not an image, or a damaged one: {error or type(error).__name__}") from error


class UnsuitableError(ValueError):
    """An image beyond the limits."""


def opened(data: bytes) -> Image.Image:
    """An image whose header has been read, and no pixel.

    Raises:
        UnsuitableError: it is too large or too narrow.
        Exception: it is damaged.
    """
    Image.init()
    profile = None
    if data.startswith(png.SIGNATURE):
        data, profile = png.bare(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
        except Image.DecompressionBombError as error:
            raise UnsuitableError(f"too large: expected at most {MOST_PIXELS} pixels: {error}") from error
    shape = f"{image.width} x {image.height}"
    if image.width * image.height > MOST_PIXELS:
        raise UnsuitableError(f"too large: expected at most {MOST_PIXELS} pixels: {shape}")
    if max(image.size) > MOST_STRETCHED * min(image.size):
        raise UnsuitableError(f"too narrow: expected sides of at most {MOST_STRETCHED} to 1: {shape}")
    if profile:
        image.info["icc_profile"] = profile
    return image


def traits(data: bytes) -> list[str]:
    """What keeps an encoded image, as it is scored, from being what a person sees: keys of :data:`seen.TRAITS`.

    None of what is no image. The pixels are read only where there is an alpha channel.
    """
    try:
        return seen.traits(opened(data))
    except Exception:  # as in decode, which says so
        return []
