"""The one rule by which an image becomes a square: its shorter side is resized to the square's, the longer one is cut.

Training cuts at random places, the denoising loss in the centre; nothing is squashed.
"""

from __future__ import annotations

from typing import TypeAlias

from PIL import Image

from afa_bench.errors import UserError
from afa_bench.images.decode import MOST_PIXELS

Place: TypeAlias = tuple[int, int]
"""Top and left of a square, in pixels."""


def scaled(image: Image.Image, size: int, name: str = "an image") -> Image.Image:
    """The image with its shorter side resized (bicubic) to ``size`` pixels.

    Args:
        image: any.
        size: of the square.
        name: of the image, for an error.

    Raises:
        UserError: it is so narrow that its longer side would be too large.
    """
    scale = size / min(image.size)
    wide, high = (max(size, round(side * scale)) for side in image.size)
    if wide * high > MOST_PIXELS:
        raise UserError(f"{name}: {image.width} x {image.height}: too narrow to be resized to a side of {size} pixels")
    return image if (wide, high) == image.size else image.resize((wide, high), Image.Resampling.BICUBIC)


def centre(image: Image.Image, size: int) -> Place:
    """Where the square in the centre of a scaled image begins."""
    return (image.height - size) // 2, (image.width - size) // 2


def cut(image: Image.Image, size: int, place: Place) -> Image.Image:
    top, left = place
    return image.crop((left, top, left + size, top + size))
