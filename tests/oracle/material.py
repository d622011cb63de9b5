"""What both sides score: images of all kinds and captions of all lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CAPTIONS = {
    "none": "",
    "words": "a watercolour of two red foxes, by the sea",
    "emoji": "🦊🌊 a fox 👩‍🚀 in space 🚀",
    "Chinese": "一只狐狸在海边看日落，水彩画",
    "punctuation": "  It's   “50%” <b>off</b> &amp; more… naïve café\n",
    "35 tokens": " ".join(["fox"] * 33),
    "36 tokens": " ".join(["fox"] * 33) + " sea",
    "77 tokens": " ".join(["cat"] * 75),
    "78 tokens": " ".join(["cat"] * 75) + " dog",
    "500 tokens": " ".join(["lantern", "river"] * 249),
}


def photograph(seed: int, width: int, height: int, bands: int = 3) -> np.ndarray:
    """Smooth shapes, edges and noise, uint8 ``(height, width, bands)``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    planes = []
    for _ in range(bands):
        waves = sum(
            rng.normal() * np.sin(rng.normal(scale=18) * x + rng.normal(scale=18) * y + rng.uniform(0, 6)) for _ in range(4)
        )
        edge = np.sign(rng.normal() * (x - rng.uniform()) + rng.normal() * (y - rng.uniform()))
        planes.append(128 + 35 * waves + 30 * edge + rng.normal(scale=8, size=x.shape))
    return np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)


def write_images(folder: Path) -> dict[str, Path]:
    """One file of each kind: name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {
        "square.png": Image.fromarray(photograph(0, 512, 512)),
        "wide.png": Image.fromarray(photograph(1, 340, 227)),
        "tall.png": Image.fromarray(photograph(2, 150, 401)),
        "exact.png": Image.fromarray(photograph(3, 224, 224)),
        "small.png": Image.fromarray(photograph(4, 32, 32)),
        "column.png": Image.fromarray(photograph(5, 1, 64)),
        "alpha.png": Image.fromarray(photograph(6, 260, 300, 4), "RGBA"),
        "palette.png": Image.fromarray(photograph(7, 301, 256)).quantize(64),
        "grey.png": Image.fromarray(photograph(8, 256, 333, 1)[..., 0]),
        "print.jpg": Image.fromarray(photograph(9, 280, 260, 4), "CMYK"),
    }
    for name, image in images.items():
        image.save(folder / name)
    return {name: folder / name for name in images}


def write_sets(folder: Path, sizes: tuple[int, int]) -> list[Path]:
    """Two folders of images of many sizes, whose colours differ a little."""
    folders = []
    for number, count in enumerate(sizes):
        folders.append(folder / str(number))
        folders[-1].mkdir(parents=True, exist_ok=True)
        for index in range(count):
            rng = np.random.default_rng([number, index])
            width, height = rng.integers(40, 420, 2)
            array = photograph(1000 * (number + 1) + index, int(width), int(height)).astype(float)
            Image.fromarray((array * (1 - 0.2 * number)).astype(np.uint8)).save(folders[-1] / f"{index:03}.png")
    return folders


def write_features(file: Path, n: int = 2_500, dim: int = 2_048) -> None:
    """Two matrices of features whose spectra fall as Inception's do, both of full rank."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((dim, dim)) * np.exp(-np.arange(dim) / 300)[:, None] * 0.02
    first, second = (np.abs(0.4 + rng.standard_normal((n, dim)) @ mix + shift).astype(np.float32) for shift in (0, 0.02))
    np.savez(file, first=first, second=second)
