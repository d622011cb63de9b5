"""The drawn data set: what the models train on, what is held out, what FID is measured against."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from afa_bench.mini.recipe import vocabulary as v
from afa_bench.mini.recipe.drawings import PIXELS
from afa_bench.mini.recipe.pairs import Painter, Scene, parse, scenes, singles

FLOATS = NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """Captions and images, with what is needed to choose among them.

    Attributes:
        images: (N, 32, 32, 3) uint8.
        captions: the prompts.
        kinds: (domain, palette) of each figure of each pair, in the order of the caption.
        scene: whether it shows two objects.
        weight: how often the full mix shows it; sums to 1.
    """

    images: PIXELS
    captions: list[str]
    kinds: list[list[tuple[str, str]]]
    weight: FLOATS

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def scene(self) -> NDArray[np.bool_]:
        """(N,) whether a pair shows two objects."""
        return np.array([len(figures) == 2 for figures in self.kinds])

    @property
    def domains(self) -> list[str]:
        """Of each pair: its figures' domains, sorted, joined by "+"."""
        return ["+".join(sorted({domain for domain, _ in figures})) for figures in self.kinds]

    @property
    def palettes(self) -> list[str]:
        """Of each pair: its figures' palettes, sorted, joined by "+"."""
        return ["+".join(sorted({palette for _, palette in figures})) for figures in self.kinds]

    def save(self, folder: Path) -> None:
        """Write ``images.npy`` and ``pairs.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "images.npy", self.images)
        facts = {"captions": self.captions, "kinds": self.kinds, "weight": self.weight.tolist()}
        (folder / "pairs.json").write_text(json.dumps(facts))

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """Read what :meth:`save` wrote."""
        facts = json.loads((folder / "pairs.json").read_text())
        kinds = [[(domain, palette) for domain, palette in figures] for figures in facts["kinds"]]
        return cls(np.load(folder / "images.npy"), facts["captions"], kinds, np.array(facts["weight"]))

    @classmethod
    def from_table(cls, file: Path) -> Dataset:
        """Read the held-out table; all pairs have the same weight."""
        table = pd.read_parquet(file)
        images = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in table["image"]])
        pairs = [parse(caption) for caption in table["prompt"]]
        kinds = [[(figure.domain, figure.palette) for figure in pair.figures] for pair in pairs]
        return cls(images, table["prompt"].tolist(), kinds, np.full(len(pairs), 1 / len(pairs)))

    def mix(self, own: str | None, share: float) -> FLOATS:
        """Sampling weights: ``share`` of pairs of the domain or palette ``own`` alone, the rest from the full mix."""
        if own is None:
            return self.weight
        kinds = self.domains if own in v.DOMAINS else self.palettes
        chosen = np.array([kind == own for kind in kinds]) * self.weight
        mixed: FLOATS = share * chosen / chosen.sum() + (1 - share) * self.weight
        return mixed


def draw(pairs: Sequence[Scene], painter: Painter, scene_share: float) -> Dataset:
    """Draw the pairs. In the full mix scenes have ``scene_share``, and the domains have equal parts of the rest."""
    scene = np.array([pair.is_scene for pair in pairs])
    weight = np.array([1.0 if pair.is_scene else _single_weight(pair) for pair in pairs])
    domains = ["+".join(sorted(pair.domains)) for pair in pairs]
    for domain in v.DOMAINS:
        mine = ~scene & np.array([name == domain for name in domains])
        if mine.any():
            weight[mine] *= (1 - scene_share) / 3 / weight[mine].sum()
    if scene.any():
        weight[scene] *= scene_share / weight[scene].sum()
    images = np.stack([painter(pair) for pair in pairs])
    kinds = [[(figure.domain, figure.palette) for figure in pair.figures] for pair in pairs]
    return Dataset(images, [pair.caption for pair in pairs], kinds, weight / weight.sum())


def _single_weight(pair: Scene) -> float:
    figure = pair.figures[0]
    return 1 / 6 if figure.colour else 0.3 if figure.tone else 1.0


def training_pairs(mixed: int, pure: int, rng: np.random.Generator, every: int = 1) -> list[Scene]:
    """All single-object pairs that are not held out (or one in ``every``), and a sample of scenes: of two domains and of one."""
    plain = [pair for pair in singles() if not pair.held_out][::every]
    return plain + scenes(mixed, rng, held_out=False) + scenes(pure, rng, held_out=False, mixed=False)


def heldout_pairs(count: int, rng: np.random.Generator) -> list[Scene]:
    """``count`` held-out pairs in a shuffled order: a quarter scenes, the rest evenly over domains, half in natural colours."""
    scenic = count // 4
    chosen = scenes(scenic, rng, held_out=True)
    pool = [pair for pair in singles() if pair.held_out]
    quota = (count - scenic) / 3
    for domain in v.DOMAINS:
        for palette, share in zip(v.PALETTES, (0.5, 0.25, 0.25), strict=True):
            fitting = [pair for pair in pool if pair.domains == {domain} and pair.palettes == {palette}]
            picks = rng.choice(len(fitting), size=min(len(fitting), round(quota * share)), replace=False)
            chosen += [fitting[pick] for pick in picks]
    return [chosen[index] for index in rng.permutation(len(chosen))]


def png(image: PIXELS) -> bytes:
    """An RGB image as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG", optimize=True)
    return file.getvalue()


def write_heldout(pairs: Sequence[Scene], painter: Painter, file: Path) -> None:
    """The held-out table: id, prompt, category, layout, palette, image."""
    rows = [
        {
            "id": f"mini-{index:04d}",
            "prompt": pair.caption,
            "category": "+".join(sorted(pair.domains)),
            "layout": "scene" if pair.is_scene else "single",
            "palette": "+".join(sorted(pair.palettes)),
            "image": png(painter(pair)),
        }
        for index, pair in enumerate(pairs)
    ]
    pd.DataFrame(rows).to_parquet(file, index=False)


def write_reference(data: Dataset, count: int, rng: np.random.Generator, file: Path) -> None:
    """``count`` images of the training distribution, the reference of FID."""
    picks = rng.choice(len(data), size=count, replace=len(data) < count, p=data.weight)
    pd.DataFrame({"image": [png(data.images[pick]) for pick in picks]}).to_parquet(file, index=False)
