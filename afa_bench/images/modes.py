"""Pillow's modes: which are handed on as they are, and what becomes of the others."""

from __future__ import annotations

import numpy as np
from PIL import Image

COMMON = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")
"""Modes that every preprocessing takes; all of at most eight bits a channel."""

NEAREST = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB", "HSV": "RGB", "LAB": "RGB"}
"""What stands for modes that some do not take."""

BITS, PHOTOMETRIC = 258, 262
"""TIFF's tags: bits a channel, and whether 0 is white (0) or black (1)."""


def eight_bits(image: Image.Image) -> Image.Image:
    """The same picture in one of the :data:`COMMON` modes; 16 bits keep their upper eight, as Pillow has it for 16-bit RGB.

    Raises:
        ValueError: whole or floating-point numbers whose range the file does not say.
    """
    if image.mode in COMMON:
        return image
    if image.mode in NEAREST:
        return _like(image, image.convert(NEAREST[image.mode]))
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _grey(image)
    raise ValueError(f"its pixels are of mode {image.mode}, which says no range: expected 8 or 16 bits a channel")


def has_alpha(image: Image.Image) -> bool:
    """Whether some of its pixels may be transparent."""
    return image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info


def _grey(image: Image.Image) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image).astype(np.int64)
    eight = (values >> (12 if tags.get(BITS) == (12,) else 16) - 8).clip(0, 255).astype(np.uint8)
    grey = Image.fromarray(255 - eight if tags.get(PHOTOMETRIC) == 0 else eight)
    if "transparency" in image.info:  # one of the 65,536 values
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return _like(image, grey)


def _like(image: Image.Image, changed: Image.Image) -> Image.Image:
    changed.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return changed
