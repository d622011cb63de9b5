"""What pictures of the models' shares have in common: a colour for each model, and a legend that says which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from PIL import ImageColor, ImageDraw

from afa_bench.images.letters import font_for

Colour: TypeAlias = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = ((31, 119, 180), (255, 165, 60), (60, 150, 90), (200, 70, 80), (140, 100, 180), (130, 130, 130))
INK = (40, 40, 40)
TOP = 32


def colour_of(model: int, colours: Sequence[Colour] = COLOURS) -> Colour:
    """A model's, by its number: of these colours, and beyond them others that are no other model's."""
    if model < len(colours):
        return colours[model]
    turn = (model - len(colours)) * 137.508  # the golden angle: no two hues are near one another
    shade = (38, 66, 52)[(model - len(colours)) // 7 % 3]
    red, green, blue = ImageColor.getrgb(f"hsl({(turn + 20) % 360:.1f}, 75%, {shade}%)")[:3]
    return red, green, blue


def draw_legend(pen: ImageDraw.ImageDraw, names: Sequence[str], left: int) -> None:
    """A square and a name for each model, in one line at the height ``TOP``, from ``left`` on."""
    place = float(left)
    for number, name in enumerate(names):
        font = font_for(name, 11)
        pen.rectangle((place, TOP, place + 12, TOP + 12), fill=colour_of(number))
        pen.text((place + 17, TOP - 2), name, fill=INK, font=font)
        place += 34 + pen.textlength(name, font=font)
