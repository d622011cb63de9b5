"""What a person sees of an image: turned as its camera says, on white where it is transparent, in the colours of its profile."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from afa_bench.images.modes import eight_bits, has_alpha

ORIENTATION = 0x0112
SAME = 2
"""Steps of 255 by which a colour profile may differ from sRGB and still be it."""

TRAITS: Mapping[str, str] = {
    "turned": "turned by EXIF",
    "transparent": "transparent",
    "animated": "of several frames",
    "coloured": "with a colour profile other than sRGB",
}
"""Why an image as it is scored may not be what a person sees, and how that is said."""


def traits(image: Image.Image) -> list[str]:
    """Which of :data:`TRAITS` an open image has; its pixels are read only if it has an alpha channel."""
    found = {
        "turned": orientation(image) != 1,
        "transparent": _transparent(image),
        "animated": image.format != "MPO" and getattr(image, "is_animated", False),  # MPO: a photo with what a camera adds
        "coloured": _transform(image.info.get("icc_profile"), _base(image.mode)) is not None,
    }
    return [trait for trait, has in found.items() if has]


def as_seen(image: Image.Image) -> Image.Image:
    """The image (of eight bits a channel, in memory) in RGB as a viewer shows it on white."""
    if orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    alpha = image.convert("RGBA").getchannel("A") if has_alpha(image) else None
    profile = image.info.get("icc_profile")
    if image.mode not in ("L", "CMYK"):
        image = image.convert("L" if image.mode in ("LA", "1") else "RGB")
    if (transform := _transform(profile, image.mode)) is not None:
        image = ImageCms.applyTransform(image, transform) or image
    image = image.convert("RGB")
    if alpha is None:
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8; 1 where there is none, or none that can be read. Pillow turns TIFF itself."""
    if image.format == "TIFF" or "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF: shown as it is
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _transparent(image: Image.Image) -> bool:
    if not has_alpha(image):
        return False
    low, _ = eight_bits(image).convert("RGBA").getchannel("A").getextrema()
    return low != 255


def _base(mode: str) -> str:
    return "CMYK" if mode == "CMYK" else "L" if mode in ("1", "L", "LA", "La") or mode.startswith("I") else "RGB"


@lru_cache(maxsize=64)
def _transform(profile: bytes | None, mode: str) -> Any:
    """The way from a profile's colours to sRGB, or None: no profile, one that does not fit the mode, or sRGB itself."""
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        colours = _colours(mode)
        changed = ImageCms.applyTransform(colours, found)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    assert changed is not None
    difference = np.asarray(changed, dtype=int) - np.asarray(colours.convert("RGB"), dtype=int)
    return found if np.abs(difference).max() > SAME else None


def _colours(mode: str) -> Image.Image:
    """An image of colours from all over a mode's range."""
    steps = np.linspace(0, 255, 7).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * len(mode), indexing="ij"), axis=-1)  # a letter a channel: L, RGB, CMYK
    return Image.frombytes(mode, (grid.size // len(mode), 1), grid.tobytes())
