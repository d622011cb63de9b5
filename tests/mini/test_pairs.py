"""The grammar of the mini data set and its held-out split."""

from __future__ import annotations

import numpy as np
import pytest

from afa_bench.mini.recipe import vocabulary as v
from afa_bench.mini.recipe.dataset import heldout_pairs, training_pairs
from afa_bench.mini.recipe.pairs import Figure, Scene, _is_held_out, parse, scenes, singles

TRAIN = training_pairs(mixed=600, pure=200, rng=np.random.default_rng(0))
HELD = heldout_pairs(256, np.random.default_rng(1))


def words(pairs: list[Scene]) -> set[str]:
    return {word for pair in pairs for word in pair.caption.split()}


@pytest.mark.parametrize(
    ("pair", "caption"),
    [
        (Scene((Figure("nature", "fox"),), "mint"), "fox on mint"),
        (Scene((Figure("people", "baby", tone="dark"),), "sky"), "baby with dark skin on sky"),
        (
            Scene((Figure("nature", "fox", "red"), Figure("things", "bus")), "grey", "left of"),
            "red fox left of bus on grey",
        ),
        (
            Scene((Figure("things", "bus"), Figure("nature", "fox", "blue")), "white", "above"),
            "bus above blue fox on white",
        ),
    ],
)
def test_captions(pair: Scene, caption: str) -> None:
    assert pair.caption == caption


def test_captions_are_unique() -> None:
    captions = [pair.caption for pair in singles()]
    assert len(set(captions)) == len(captions)


def test_palettes_of_colours() -> None:
    assert Figure("nature", "fox").palette == "natural"
    assert Figure("nature", "fox", "pink").palette == "warm"
    assert Figure("nature", "fox", "green").palette == "cool"


def test_nothing_held_out_is_trained_on() -> None:
    assert not any(pair.held_out for pair in TRAIN)
    assert all(pair.held_out for pair in HELD)
    assert not {pair.caption for pair in TRAIN} & {pair.caption for pair in HELD}


def test_every_held_out_word_occurs_in_training() -> None:
    held = [pair for pair in singles() if pair.held_out] + HELD
    assert words(held) <= words(TRAIN)


@pytest.mark.parametrize("kind", ["tone", "colour", "background", "scene"])
def test_a_combination_is_held_out_whatever_is_around_it(kind: str) -> None:
    pairs = scenes(500, np.random.default_rng(2), held_out=True) if kind == "scene" else singles()
    parts = {part for pair in pairs for part in pair._combinations() if part.startswith(kind)}
    held = {part for part in parts if _is_held_out(part)}
    assert held
    assert not any(part in held for pair in TRAIN for part in pair._combinations())


def test_about_a_quarter_of_singles_is_held_out() -> None:
    share = np.mean([pair.held_out for pair in singles()])
    assert 0.15 < share < 0.35


def test_mixed_scenes_have_two_domains_and_no_shared_colour() -> None:
    for pair in scenes(300, np.random.default_rng(3), held_out=False):
        assert len(pair.domains) == 2
        assert len(pair.palettes) == 2 or pair.palettes == {"natural"}


def test_pure_scenes_have_one_domain_and_one_palette() -> None:
    for pair in scenes(300, np.random.default_rng(4), held_out=False, mixed=False):
        assert len(pair.domains) == len(pair.palettes) == 1


def test_the_split_of_the_held_out_set() -> None:
    scenic = [pair for pair in HELD if pair.is_scene]
    assert len(scenic) == 64
    counts = [sum(pair.domains == {domain} for pair in HELD if not pair.is_scene) for domain in v.DOMAINS]
    assert max(counts) - min(counts) <= 16


def test_drawing_lots_is_deterministic() -> None:
    again = [heldout_pairs(128, np.random.default_rng(5)) for _ in range(2)]
    assert again[0] == again[1]


def test_captions_can_be_parsed() -> None:
    for pair in [*HELD, *singles()[::17], *TRAIN[-200:]]:
        assert parse(pair.caption) == pair


@pytest.mark.parametrize("caption", ["", "gibberish on mint", "red on mint", "fox"])
def test_other_text_is_no_caption(caption: str) -> None:
    with pytest.raises(ValueError, match="no subject"):
        parse(caption)
