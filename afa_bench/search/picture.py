"""A picture of block weights: a bar for each block, divided among the models."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from afa_bench.images.legend import INK, colour_of, draw_legend
from afa_bench.images.letters import font_for
from afa_bench.search.space import Weights

BAR, GAP, TALL = 34, 7, 200


def picture(weights: Weights, blocks: Sequence[str], names: Sequence[str], title: str) -> Image.Image:
    """Bars in the order of ``blocks``, the first model's share at the bottom.

    Args:
        weights: a weight of each model, by block.
        blocks: which to show.
        names: of the models.
        title: above it.
    """
    font, small = font_for(title, 14), font_for("0", 11)
    left, top = 44, 56
    sheet = Image.new("RGB", (left + len(blocks) * (BAR + GAP) + 10, top + TALL + 30), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((left, 6), title, fill=INK, font=font)
    draw_legend(pen, names, left)
    for share in (0.0, 0.5, 1.0):
        pen.text((8, top + TALL * (1 - share) - 7), f"{share:.1f}", fill=INK, font=small)
    for index, block in enumerate(blocks):
        x, bottom = left + index * (BAR + GAP), float(top + TALL)
        for number, weight in enumerate(weights[block]):
            if weight > 0:
                pen.rectangle((x, bottom - weight * TALL, x + BAR, bottom), fill=colour_of(number))
                if weight >= 0.1:
                    text = f"{weight:.2f}".lstrip("0") if weight < 1 else "1"
                    wide = pen.textlength(text, font=small)
                    pen.text((x + (BAR - wide) / 2, bottom - weight * TALL / 2 - 7), text, fill="white", font=small)
                bottom -= weight * TALL
        wide = pen.textlength(block, font=small)
        pen.text((x + (BAR - wide) / 2, top + TALL + 6), block, fill=INK, font=small)
    return sheet
