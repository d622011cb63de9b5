"""Pictures of maps: a grid of tiles with names above and beside it, over the image that they belong to."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from afa_bench.images.legend import Colour, colour_of
from afa_bench.images.letters import font_for

if TYPE_CHECKING:
    from afa_bench.afa.maps import Maps
    from afa_bench.afa.wins import Wins

Pixels: TypeAlias = NDArray[np.uint8]

TILE = 128
GAP = 6
INK, GREY = (30, 30, 30), (120, 120, 120)
HEAT = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], dtype=np.float64)
"""From low to high: black, violet, red, orange, yellow (the colours of matplotlib's "inferno")."""
MODELS: tuple[Colour, ...] = ((230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))
"""A colour a model, told apart with any colour vision (Okabe and Ito); further models have others."""


def heat(values: NDArray[Any], low: float, high: float) -> Pixels:
    """Colours ``(h, w, 3)`` of values ``(h, w)`` between ``low`` and ``high``."""
    level = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(HEAT) - 1)
    return np.stack([np.interp(level, np.arange(len(HEAT)), HEAT[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)


def tile(pixels: Pixels, over: Image.Image | None = None, strength: float = 0.78) -> Image.Image:
    """``(h, w, 3)`` enlarged to a tile, with sharp edges; laid over a grey image where there is one."""
    found = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST)
    return found if over is None else Image.blend(over.convert("L").convert("RGB"), found, strength)


def photo(pixels: Pixels) -> Image.Image:
    """An image as a tile."""
    small = max(pixels.shape[:2]) < TILE
    return Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)


def draw_maps(maps: Maps) -> Image.Image:
    """A panel for each block: a row a model, a column a step; the brighter, the more of the model is taken there."""
    over = photo(maps.image)
    titles = [f"step {step}" for step in maps.steps]
    panels = []
    for block, weights in zip(maps.blocks, maps.weights, strict=True):
        low, high = float(weights.min()), float(weights.max())
        tiles = [
            [tile(heat(weights[step, model], low, high), over) for step in range(len(titles))]
            for model in range(len(maps.models))
        ]
        panel = grid(tiles, list(maps.models), titles)
        scale = _scale(low, high, panel.height, 1 / len(maps.models))
        panels.append(_below([_text(f"block {block} ({maps.names[block]})", 14, INK), _beside([panel, scale])], gap=2))
    return _below([_beside([over, _text(_wrapped(maps.prompt, 60), 16, INK)], gap=2 * GAP), *panels])


def draw_wins(wins: Wins) -> Image.Image:
    """A row a prompt, a column a step: at each place the colour of the model that wins most often, paler where rarely.

    Under each tile is a bar a noise: the models' shares of all places.
    """
    rows = []
    for number, image in enumerate(wins.images):
        tiles = []
        for step in range(len(wins.timesteps)):
            shares = wins.shares(1, 2, of=wins.winners[number, step])
            bars = [_bar(row) for row in wins.shares(0, of=wins.winners[number, step])]
            tiles.append(_below([tile(_colours(shares)), *bars], gap=2))
        rows.append([_below([photo(image)], gap=2), *tiles])
    titles = ["image", *(f"t = {t}" for t in wins.timesteps)]
    names = [_wrapped(prompt, 18) for prompt in wins.prompts]
    legend = [
        _beside([Image.new("RGB", (14, 14), colour_of(number, MODELS)), _text(name, 13, INK)])
        for number, name in enumerate(wins.models)
    ]
    caption = f"the winner of most of {wins.winners.shape[2]} noises at each place, paler where few; below, a bar for each noise"
    return _below([_beside([*legend, _text(caption, 12, GREY)], gap=14), grid(rows, names, titles)])


def save(picture: Image.Image, file: Path) -> None:
    """Write a PNG, with a margin."""
    picture = ImageOps.expand(picture, 2 * GAP, "white")
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, optimize=True)


def grid(tiles: Sequence[Sequence[Image.Image]], names: Sequence[str], titles: Sequence[str]) -> Image.Image:
    """Tiles in rows with a name each, below columns with a title each."""
    labels = [_text(name, 13, INK) for name in names]
    left = max(label.width for label in labels) + GAP
    wide, high = tiles[0][0].width, max(one.height for row in tiles for one in row)
    picture = Image.new("RGB", (left + len(titles) * (wide + GAP), 20 + len(tiles) * (high + GAP)), "white")
    for column, text in enumerate(titles):
        label = _text(text, 12, GREY)
        picture.paste(label, (left + column * (wide + GAP) + (wide - label.width) // 2, 2))
    for row, (label, images) in enumerate(zip(labels, tiles, strict=True)):
        top = 20 + row * (high + GAP)
        picture.paste(label, (0, top + (TILE - label.height) // 2))
        for column, one in enumerate(images):
            picture.paste(one, (left + column * (wide + GAP), top))
    return picture


def _colours(shares: NDArray[np.float64]) -> Pixels:
    """``(h, w, 3)`` of the models' shares ``(h, w, N)``: the winner's colour, white where all win alike."""
    best, count = shares.argmax(axis=-1), shares.shape[-1]
    strength = (shares.max(axis=-1) - 1 / count) / max(1 - 1 / count, 1e-12)
    colours = np.array([colour_of(number, MODELS) for number in range(count)], dtype=np.float64)[best]
    mixed: Pixels = (255 - (0.15 + 0.85 * strength[..., None]) * (255 - colours)).astype(np.uint8)
    return mixed


def _bar(shares: NDArray[np.float64]) -> Image.Image:
    """Shares side by side."""
    bar, ends = Image.new("RGB", (TILE, 5), "white"), np.round(np.cumsum(shares) * TILE).astype(int)
    for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        bar.paste(colour_of(number, MODELS), (int(start), 0, int(end), 5))
    return bar


def _scale(low: float, high: float, height: int, even: float) -> Image.Image:
    """The colours' meaning: a bar from ``low`` to ``high`` with a mark where all models have the same weight."""
    high_px = min(height - 26, 3 * TILE)
    bar = Image.fromarray(np.repeat(heat(np.linspace(high, low, high_px)[:, None], low, high), 12, axis=1))
    picture = Image.new("RGB", (86, height), "white")
    picture.paste(bar, (4, 20))
    pen, font = ImageDraw.Draw(picture), font_for("0", 11)
    marks = {high: f"{high:.2f}", low: f"{low:.2f}", even: f"{even:.2f} even"}
    last = -99.0
    for value, text in sorted(marks.items(), reverse=True):
        place = 20 + (high - value) / max(high - low, 1e-12) * (high_px - 1)
        if low <= value <= high and place - last >= 12:
            pen.line((16, place, 20, place), fill=INK)
            pen.text((23, place - 7), text, fill=INK, font=font)
            last = place
    return picture


def _text(text: str, size: int, colour: Colour) -> Image.Image:
    font = font_for(text, size)
    left, top, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), text or " ", font=font)
    picture = Image.new("RGB", (int(right - left) + 2, int(bottom - top) + 4), "white")
    ImageDraw.Draw(picture).multiline_text((-left, -top + 1), text, fill=colour, font=font)
    return picture


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width)[:5])


def _beside(pictures: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    whole = Image.new("RGB", (sum(one.width + gap for one in pictures) - gap, max(one.height for one in pictures)), "white")
    left = 0
    for one in pictures:
        whole.paste(one, (left, (whole.height - one.height) // 2))
        left += one.width + gap
    return whole


def _below(pictures: Sequence[Image.Image], gap: int = 2 * GAP) -> Image.Image:
    whole = Image.new("RGB", (max(one.width for one in pictures), sum(one.height + gap for one in pictures) - gap), "white")
    top = 0
    for one in pictures:
        whole.paste(one, (0, top))
        top += one.height + gap
    return whole
