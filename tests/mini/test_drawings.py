"""Drawing: sprites, colours, where things stand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from afa_bench.mini.recipe import vocabulary as v
from afa_bench.mini.recipe.drawings import fit, recolour
from afa_bench.mini.recipe.pairs import Figure, Painter, Scene

FOX, BUS, BABY = Figure("nature", "fox"), Figure("things", "bus"), Figure("people", "baby")


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter()


def test_every_subject_has_a_drawing(painter: Painter) -> None:
    for domain in v.DOMAINS:
        for word, name in v.subjects()[domain].items():
            assert name in painter._files, word
            if word in v.words(v.TONED):
                assert all(f"{name} {tone} skin tone" in painter._files for tone in v.TONES), word


def test_scenic_subjects_are_subjects() -> None:
    for domain in v.DOMAINS:
        assert set(v.words(v.SCENIC[domain])) <= set(v.subjects()[domain])


def test_image_and_background(painter: Painter) -> None:
    image = painter(Scene((FOX,), "mint"))
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert tuple(image[0, 0]) == v.BACKGROUNDS["mint"]


@pytest.mark.parametrize(("layout", "axis"), [("left of", 1), ("above", 0)])
def test_each_object_stays_in_its_half(painter: Painter, layout: str, axis: int) -> None:
    one = painter(Scene((FOX, BUS), "sky", layout)).astype(int)
    other = painter(Scene((FOX, BABY), "sky", layout)).astype(int)
    changed = np.nonzero((one != other).any(axis=-1))[axis]
    assert changed.min() >= 16
    assert (np.roll(one, 16, axis=axis) == painter(Scene((BUS, FOX), "sky", layout))).all()


def test_colours_dominate(painter: Painter) -> None:
    for colour, channel in (("red", 0), ("green", 1), ("blue", 2)):
        pixels = painter(Scene((Figure("nature", "fox", colour),), "white")).reshape(-1, 3).astype(int)
        inked = pixels[pixels.sum(axis=1) < 600]
        assert inked.mean(axis=0).argmax() == channel


def test_recolouring_keeps_black_and_transparency() -> None:
    image = Image.fromarray(np.array([[[0, 0, 0, 255], [255, 255, 255, 255], [90, 90, 90, 0]]], dtype=np.uint8), "RGBA")
    black, white, clear = np.asarray(recolour(image, (224, 36, 36)))[0]
    assert tuple(black[:3]) == (0, 0, 0)
    assert white[0] > white[1]
    assert clear[3] == 0


def test_fit_keeps_the_aspect() -> None:
    assert fit(Image.new("RGBA", (100, 50)), 16, 32).size == (16, 8)
    assert fit(Image.new("RGBA", (10, 50)), 16, 30).size == (6, 30)
