"""Pairs of caption and image: their grammar, how they are drawn, and which are held out.

    [colour] subject [with TONE skin] on background
    [colour] subject left of [colour] subject on background        (or "above")

Whether a pair is held out follows from its combinations of words alone, so that no model of the zoo ever sees a held-out
combination, in any picture; every word occurs in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations

import numpy as np
from PIL import Image

from afa_bench.mini.recipe import vocabulary as v
from afa_bench.mini.recipe.drawings import PIXELS, blank, drawings, fit, paste, recolour, render

SIDE = 32  # pixels of an image
LAYOUTS = {"left of": ((0, 0, 16, 32), (16, 0, 32, 32)), "above": ((0, 0, 32, 16), (0, 16, 32, 32))}
HELD_OUT = 0.15  # the share of combinations that is held out, for every kind of combination


@dataclass(frozen=True)
class Figure:
    """One object of a picture: its domain and word, and a colour or a skin tone or neither."""

    domain: str
    subject: str
    colour: str | None = None
    tone: str | None = None

    @property
    def palette(self) -> str:
        """ "natural", or the palette that the figure's colour belongs to."""
        return next((palette for palette, colours in v.COLOURS.items() if self.colour in colours), "natural")

    def __str__(self) -> str:
        text = f"{self.colour} {self.subject}" if self.colour else self.subject
        return f"{text} with {self.tone} skin" if self.tone else text


@dataclass(frozen=True)
class Scene:
    """A caption and what its image shows: one figure, or two in a layout."""

    figures: tuple[Figure, ...]
    background: str
    layout: str = "single"

    @property
    def caption(self) -> str:
        """The prompt."""
        return f"{f' {self.layout} '.join(map(str, self.figures))} on {self.background}"

    @property
    def is_scene(self) -> bool:
        """Whether it shows two objects."""
        return len(self.figures) == 2

    @property
    def domains(self) -> frozenset[str]:
        """The domains of its figures."""
        return frozenset(figure.domain for figure in self.figures)

    @property
    def palettes(self) -> frozenset[str]:
        """The palettes of its figures."""
        return frozenset(figure.palette for figure in self.figures)

    @cached_property
    def held_out(self) -> bool:
        """Whether one of its combinations of words is held out."""
        return any(map(_is_held_out, self._combinations()))

    def _combinations(self) -> Iterator[str]:
        for figure in self.figures:
            if figure.tone:
                yield f"tone: {figure.subject} + {figure.tone}"
            if figure.colour:
                yield f"colour: {figure.subject} + {figure.colour}"
            if not self.is_scene:
                yield f"background: {figure.subject} + {self.background}"
        if self.is_scene:
            yield "scene: " + " + ".join(sorted(figure.subject for figure in self.figures))


@cache
def _is_held_out(combination: str) -> bool:
    digest = hashlib.sha256(combination.encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT * 2**32


def parse(caption: str) -> Scene:
    """The pair of a caption.

    Raises:
        ValueError: the caption is not of the data set's grammar.
    """
    text, _, background = caption.rpartition(" on ")
    for layout in LAYOUTS:
        parts = text.split(f" {layout} ")
        if len(parts) == 2:
            return Scene(tuple(map(_figure, parts)), background, layout)
    return Scene((_figure(text),), background)


def _figure(text: str) -> Figure:
    tone = next((tone for tone in v.TONES if text.endswith(f" with {tone} skin")), None)
    text = text.removesuffix(f" with {tone} skin")
    colour = next((c for colours in v.COLOURS.values() for c in colours if text.startswith(f"{c} ")), None)
    text = text.removeprefix(f"{colour} ")
    for domain, subjects in v.subjects().items():
        if text in subjects:
            return Figure(domain, text, colour, tone)
    raise ValueError(f"{text!r} is no subject of the data set")


def figures(domain: str, scenic: bool = False) -> list[Figure]:
    """All figures of a domain: as drawn, in every skin tone and colour; for scenes only what is legible at half the size."""
    toned = v.words(v.TONED)
    chosen = v.words(v.SCENIC[domain]) if scenic else v.subjects()[domain]
    found: list[Figure] = []
    for subject in chosen:
        found.append(Figure(domain, subject))
        if subject in toned and not scenic:
            found += [Figure(domain, subject, tone=tone) for tone in v.TONES]
        found += [Figure(domain, subject, colour=colour) for colours in v.COLOURS.values() for colour in colours]
    return found


def singles() -> list[Scene]:
    """Every picture of one object."""
    return [Scene((figure,), background) for domain in v.DOMAINS for figure in figures(domain) for background in v.BACKGROUNDS]


def scenes(count: int, rng: np.random.Generator, held_out: bool, mixed: bool = True) -> list[Scene]:
    """Different two-object pictures, drawn at random.

    Args:
        count: how many.
        rng: the source of randomness.
        held_out: whether to draw held-out pictures or training ones.
        mixed: both objects of different domains and palettes (or both in natural colours); otherwise of one domain and palette.
    """
    pool = {(d, p): [f for f in figures(d, scenic=True) if f.palette == p] for d in v.DOMAINS for p in v.PALETTES}
    two_domains = list(combinations(v.DOMAINS, 2))
    two_palettes = [("natural", "natural"), ("natural", "warm"), ("natural", "cool"), ("warm", "cool")]
    found: dict[Scene, None] = {}
    while len(found) < count:
        if mixed:
            domains = two_domains[rng.integers(3)]
            palettes = two_palettes[rng.choice(4, p=[0.31, 0.23, 0.23, 0.23])]
        else:
            domains = (v.DOMAINS[rng.integers(3)],) * 2
            palettes = (v.PALETTES[rng.integers(3)],) * 2
        if rng.integers(2):
            domains = domains[::-1]
        if rng.integers(2):
            palettes = palettes[::-1]
        chosen = [pool[key][rng.integers(len(pool[key]))] for key in zip(domains, palettes, strict=True)]
        layout = list(LAYOUTS)[rng.integers(2)]
        pair = Scene(tuple(chosen), list(v.BACKGROUNDS)[rng.integers(len(v.BACKGROUNDS))], layout)
        if pair.held_out is held_out and chosen[0].subject != chosen[1].subject:
            found[pair] = None
    return list(found)


class Painter:
    """Draws pairs; keeps every drawing that it has rendered."""

    def __init__(self) -> None:
        self._files = drawings()
        self._rendered: dict[Figure, Image.Image] = {}
        self._sprites: dict[tuple[Figure, int, int], Image.Image] = {}

    def __call__(self, pair: Scene) -> PIXELS:
        """The image: (32, 32, 3) uint8 RGB."""
        canvas = blank((SIDE, SIDE), (*v.BACKGROUNDS[pair.background], 255))
        boxes = LAYOUTS[pair.layout] if pair.is_scene else ((0, 0, SIDE, SIDE),)
        for figure, box in zip(pair.figures, boxes, strict=True):
            margin = 0 if pair.is_scene else 1
            paste(canvas, self._sprite(figure, box[2] - box[0] - 2 * margin, box[3] - box[1] - 2 * margin), box)
        return np.asarray(canvas.convert("RGB"))

    def _sprite(self, figure: Figure, width: int, height: int) -> Image.Image:
        key = figure, width, height
        if key not in self._sprites:
            self._sprites[key] = fit(self._drawing(figure), width, height)
        return self._sprites[key]

    def _drawing(self, figure: Figure) -> Image.Image:
        if figure not in self._rendered:
            plain = Figure(figure.domain, figure.subject, tone=figure.tone)
            if plain not in self._rendered:
                name = v.subjects()[figure.domain][figure.subject]
                self._rendered[plain] = render(self._files[f"{name} {figure.tone} skin tone" if figure.tone else name])
            if figure.colour:
                self._rendered[figure] = recolour(self._rendered[plain], v.COLOURS[figure.palette][figure.colour])
        return self._rendered[figure]
