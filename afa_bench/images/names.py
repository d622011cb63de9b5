"""Which names are those of images."""

from __future__ import annotations

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
"""In any case."""


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def is_hidden(part: str) -> bool:
    """Whether a part of a path is hidden: folders of editors and viewers (``.thumbnails``), a Mac's ``._a.png``."""
    return part.startswith(".") and part.strip(".") != ""
