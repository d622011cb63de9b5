"""Pictures for people: samples beside the real images, and SABW's maps on two-object scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from afa_bench.mini.recipe import unet as unets
from afa_bench.mini.recipe.drawings import PIXELS
from afa_bench.mini.recipe.loop import generator
from afa_bench.mini.recipe.measure import MAP_BLOCKS, scene_maps, two_kinds
from afa_bench.mini.recipe.settings import GROUPS, ROUTERS
from afa_bench.mini.recipe.zoo import Zoo

ZOOM = 3  # screen pixels a pixel
INK = (40, 40, 40)
HIGH, LOW = (214, 40, 40), (40, 90, 200)


@torch.no_grad()
def sample(
    zoo: Zoo, denoise: unets.Denoise, states: Tensor, empty: Tensor, seed: int, steps: int = 20, guidance: float = 3.0
) -> PIXELS:
    """Images (N, 32, 32, 3) uint8 of text states (N, L, D) by DDIM with classifier-free guidance, each with noise of its own."""
    schedule = unets.scheduler()
    schedule.set_timesteps(steps)
    shape = (zoo.vae.config.latent_channels, 8, 8)
    x = torch.stack([torch.randn(shape, generator=generator(seed, row)) for row in range(len(states))])
    text = torch.cat([empty.expand(len(states), -1, -1), states])
    for t in schedule.timesteps:
        without, noise = denoise(torch.cat([x, x]), t.expand(2 * len(x)), text).chunk(2)
        x = schedule.step(without + guidance * (noise - without), t, x).prev_sample
    pixels = zoo.vae.decode(x / zoo.vae.config.scaling_factor).sample
    images: PIXELS = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return images


def pick(zoo: Zoo, singles: int, scenes: int) -> list[int]:
    """The first held-out rows: so many with one object, so many scenes."""
    rows = np.arange(len(zoo.heldout))
    return [*rows[~zoo.heldout.scene][:singles].tolist(), *rows[zoo.heldout.scene][:scenes].tolist()]


def samples(zoo: Zoo, singles: int = 24, scenes: int = 16, seed: int = 0) -> Image.Image:
    """Held-out prompts: the real image, the base, AFA of both groups."""
    rows = pick(zoo, singles, scenes)
    held, empty = zoo.heldout_states(rows), zoo.states([""])
    columns = {"real": zoo.heldout.images[rows]}
    columns["base"] = sample(zoo, unets.stock(zoo.unet("base")), held, empty, seed)
    for group, names in GROUPS.items():
        together = held.repeat(1, 1, len(names)), empty.repeat(1, 1, len(names))
        ensemble = zoo.ensemble(group)
        columns[f"AFA {group}"] = sample(zoo, lambda x, t, c, e=ensemble: e(x, t, c).sample, *together, seed)  # type: ignore[misc]
    captions = [zoo.heldout.captions[row] for row in rows]
    return contact_sheet(captions, columns)


def contact_sheet(captions: Sequence[str], columns: dict[str, PIXELS], across: int = 4) -> Image.Image:
    """Cells of a caption above its images, one image a column."""
    side, gap, line = 32 * ZOOM, 4, 26
    font, small = ImageFont.load_default(size=12), ImageFont.load_default(size=11)
    wide = len(columns) * (side + gap) + 12
    down = -(-len(captions) // across)
    sheet = Image.new("RGB", (across * wide, 18 + down * (side + line + 8)), "white")
    pen = ImageDraw.Draw(sheet)
    for place in range(across):
        for number, title in enumerate(columns):
            pen.text((place * wide + number * (side + gap), 2), title, fill=(130, 130, 130), font=small)
    for index, caption in enumerate(captions):
        left, top = index % across * wide, 18 + index // across * (side + line + 8)
        pen.text((left, top + 6), caption, fill=INK, font=font)
        for number, images in enumerate(columns.values()):
            tile = Image.fromarray(images[index]).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(tile, (left + number * (side + gap), top + line))
    return sheet


def maps(zoo: Zoo, group: str, count: int = 8) -> Image.Image:
    """Held-out scenes with each model's weight against its own mean over the picture: red above it, blue below.

    The weights are those of the decoder's full-resolution blocks, the mean over the timesteps of the held-out loss.
    """
    rows = two_kinds(zoo, group)[:count]
    weights = scene_maps(zoo, group, rows)[:, list(MAP_BLOCKS)].mean(dim=1)
    above = weights - weights.mean(dim=(2, 3), keepdim=True)
    level = (above / above.abs().amax(dim=(1, 2, 3), keepdim=True)).numpy()
    columns = {"scene": zoo.heldout.images[rows]}
    for number, name in enumerate(GROUPS[group]):
        one = level[:, number, ..., None].repeat(4, axis=1).repeat(4, axis=2)
        shade = 255 - np.abs(one) * (255 - np.where(one > 0, np.array(HIGH), np.array(LOW)))
        columns[name] = shade.astype(np.uint8)
    return contact_sheet([zoo.heldout.captions[row] for row in rows], columns, across=2)


def routes(zoo: Zoo, count: int = 16, steps: int = 10) -> tuple[Image.Image, dict[str, Any]]:
    """Whom the routers of both groups choose while held-out prompts are drawn with guidance: a picture, and the numbers."""
    rows = pick(zoo, count - count // 4, count // 4)
    held, empty = zoo.heldout_states(rows), zoo.states([""])
    parts, facts = [], {}
    for group, names in GROUPS.items():
        together = held.repeat(1, 1, len(names)), empty.repeat(1, 1, len(names))
        for method in ROUTERS:
            mixture: Any = zoo.built(group, method)
            with mixture.router.record() as usage:
                sample(zoo, lambda x, t, c, unet=mixture: unet(x, t, c).sample, *together, 0, steps)  # type: ignore[misc]
            facts[f"{group} {method}"] = usage.summary(guided=True)
            parts.append(usage.picture(names, f"{method} in {group}: experts by block and timestep"))
    return stacked(parts), facts


def both_maps(zoo: Zoo, count: int = 8) -> Image.Image:
    """The maps of both groups, one below the other."""
    return stacked([maps(zoo, group, count) for group in GROUPS])


def stacked(parts: Sequence[Image.Image]) -> Image.Image:
    """Pictures, one below the other."""
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height + 12 for part in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height + 12
    return whole


def save(image: Image.Image, file: Path) -> None:
    """Write a PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, optimize=True)
