"""What pictures of the models' shares have in common: a colour for each model, and a legend that says which."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import ImageDraw, ImageFont

COLOURS = ((31, 119, 180), (255, 165, 60), (60, 150, 90), (200, 70, 80), (140, 100, 180), (130, 130, 130))
INK = (40, 40, 40)
TOP = 32


def colour_of(model: int) -> tuple[int, int, int]:
    return COLOURS[model % len(COLOURS)]


def draw_legend(pen: ImageDraw.ImageDraw, names: Sequence[str], left: int) -> None:
    """A square and a name for each model, in one line at the height ``TOP``, from ``left`` on."""
    font, place = ImageFont.load_default(size=11), float(left)
    for number, name in enumerate(names):
        pen.rectangle((place, TOP, place + 12, TOP + 12), fill=colour_of(number))
        pen.text((place + 17, TOP - 2), name, fill=INK, font=font)
        place += 34 + pen.textlength(name, font=font)
