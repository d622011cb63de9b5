"""Block weights: presets value by value, the simplex, the chain, and the method on models in memory."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tiny import tiny_unet

from afa_bench.architectures import sd15, sdxl
from afa_bench.architectures.layout import BASE, TIME, layout_of_unet
from afa_bench.errors import UserError
from afa_bench.merging.mbw import CURVES, RANGES, MBWSettings, Step, preset
from afa_bench.method import Model
from baselines.mbw import MBW, MBWOptions
from baselines.weighted import Weighted, WeightedOptions

NAMES = ("one", "two", "three")
SD15, SDXL = sd15.SD15.layout, sdxl.SDXL.layout


def group() -> Any:
    return SimpleNamespace(name="tiny", family=sd15.SD15(), models=[SimpleNamespace(name=name) for name in NAMES])


def models() -> list[Model]:
    torch.manual_seed(0)
    return [Model(name, tiny_unet(seed), torch.nn.Linear(4, 4)) for seed, name in enumerate(NAMES)]


def test_the_presets() -> None:
    half = [i / 12 for i in range(12)]
    expected = {
        "GRAD_V": [*(1 - x for x in half), 0, *reversed([1 - x for x in half])],
        "GRAD_A": [*half, 1, *reversed(half)],
        "SMOOTHSTEP": [3 * (i / 24) ** 2 - 2 * (i / 24) ** 3 for i in range(25)],
        "COSINE": [(1 + math.cos(math.pi * i / 24)) / 2 for i in range(25)],
        "FAKE_HERMITE": [6.3333 * (i / 24) ** 3 - 9.5 * (i / 24) ** 2 + 4.1667 * i / 24 for i in range(25)],
        "FLAT_25": [0.25] * 25,
        "FLAT_75": [0.75] * 25,
        "WRAP08": [1] * 4 + [0] * 17 + [1] * 4,
        "MID12_50": [0] * 5 + [0.5] * 14 + [0] * 6,
        "OUT07": [0] * 18 + [1] * 7,
        "OUT12": [0] * 13 + [1] * 12,
        "OUT12_5": [0] * 12 + [0.5] + [1] * 12,
        "RING08_5": [0] * 6 + [0.5] * 4 + [0] * 5 + [0.5] * 4 + [0] * 6,
        "RING10_5": [0] * 5 + [0.5] * 5 + [0] * 5 + [0.5] * 5 + [0] * 5,
        "RING10_3": [0] * 6 + [0.3] * 5 + [0] * 3 + [0.3] * 5 + [0] * 6,
    }
    assert expected.keys() == {*CURVES, *RANGES}
    for name, values in expected.items():
        assert preset(name) == pytest.approx(values), name
        for prefix in ("R_", "REVERSE_"):
            assert preset(prefix + name) == pytest.approx([1 - value for value in values])


def test_presets_for_other_numbers_of_blocks() -> None:
    assert preset("GRAD_A", 19)[9] == 1
    assert len(preset("R_COSINE", 19)) == 19
    with pytest.raises(UserError, match="preset WRAP08 is defined for 25 blocks; this model has 19"):
        preset("WRAP08", 19)
    with pytest.raises(UserError, match="unknown preset 'GRAD_W': did you mean 'GRAD_"):
        preset("GRAD_W")


def test_a_simplex_is_uniform_by_default() -> None:
    for layout, count in ((SD15, 25), (SDXL, 19)):
        weights = MBWSettings().weights(layout, 3)
        assert len(weights) == count + 2
        assert set(weights.values()) == {(1 / 3,) * 3}


def test_a_chain_is_two_merges_after_each_other() -> None:
    first, second = tuple(0.01 * i for i in range(25)), tuple(1 - 0.02 * i for i in range(25))
    weights = MBWSettings(chain=(Step(blocks=first, base=0.2), Step(blocks=second, base=0.7))).weights(SD15, 3)
    for block, a, b in zip((*SD15.blocks, BASE), (*first, 0.2), (*second, 0.7), strict=True):
        assert weights[block] == pytest.approx(((1 - a) * (1 - b), a * (1 - b), b))
        assert sum(weights[block]) == pytest.approx(1)


def test_where_the_time_embedding_goes() -> None:
    step = Step(blocks=(0.1,) + (0.5,) * 24, base=0.9)
    assert MBWSettings(chain=(step,)).weights(SD15, 2)[TIME] == pytest.approx((0.9, 0.1))
    assert MBWSettings(chain=(step,), time_embedding="BASE").weights(SD15, 2)[TIME] == pytest.approx((0.1, 0.9))


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(UserError, match=r"mbw: blocks: 3 weights; expected 25 for SD 1.5 \(IN00 ... OUT11\)"):
        MBWSettings(chain=(Step(blocks=(0.1, 0.2, 0.3)),)).weights(SD15, 2)
    with pytest.raises(UserError, match="mbw: chain: 1 merges; expected 2 for 3 models"):
        MBWSettings(chain=(Step(blocks="FLAT_25"),)).weights(SD15, 3)
    with pytest.raises(UserError, match="mbw: simplex: 2 rows; expected 19, one for each block of SDXL"):
        MBWSettings(simplex=((0.5, 0.5),) * 2).weights(SDXL, 2)
    with pytest.raises(UserError, match=r"mbw: IN00: \[0.5, 0.6\]; expected a weight of each of 2 models, with the sum 1"):
        MBWSettings(simplex=((0.5, 0.6),) * 25).weights(SD15, 2)
    with pytest.raises(ValidationError, match="either a chain or a simplex"):
        MBWSettings(chain=(Step(blocks="FLAT_25"),), base=(0.5, 0.5))


def test_the_method_merges_each_block_with_its_own_weights() -> None:
    loaded = models()
    rows = [
        tuple(row) for row in torch.softmax(torch.randn(25, 3, generator=torch.Generator().manual_seed(1)).double(), 1).tolist()
    ]
    options = MBWOptions(simplex=tuple(rows), base=(0.2, 0.3, 0.5))
    denoiser = MBW().build(group(), loaded, options)
    layout = layout_of_unet(loaded[0].unet.config)  # type: ignore[arg-type]
    place = {**{block: rows[n] for n, block in enumerate(layout.blocks)}, TIME: rows[0]}
    states = [model.unet.state_dict() for model in loaded]
    for key, found in denoiser.unet.state_dict().items():
        link = layout.of_diffusers("unet", key)
        assert link is not None
        torch.testing.assert_close(found, sum(w * s[key] for w, s in zip(place[link.block], states, strict=True)))
    text = denoiser.text_encoders[0].state_dict()["weight"]
    encoders = [model.text_encoder.state_dict()["weight"] for model in loaded]
    torch.testing.assert_close(text, 0.2 * encoders[0] + 0.3 * encoders[1] + 0.5 * encoders[2])


def test_uniform_block_weights_are_weighted_merging() -> None:
    loaded = models()
    block = MBW().build(group(), loaded, MBWOptions()).unet.state_dict()
    plain = Weighted().build(group(), loaded, WeightedOptions()).unet.state_dict()
    assert all(torch.equal(block[key], value) for key, value in plain.items())


def test_the_forms_as_a_method() -> None:
    loaded = models()
    one, two, three = (model.unet.state_dict() for model in loaded)
    options = WeightedOptions(form="add-difference", models=("three", "one", "two"), alpha=0.5)
    assert list(Weighted().variants(group(), options)) == ["weighted"]
    found = Weighted().build(group(), loaded, options).unet.state_dict()
    for key, value in found.items():
        torch.testing.assert_close(value, three[key] + 0.5 * (one[key] - two[key]))
    with pytest.raises(UserError, match="weighted: models: unknown model 'four'"):
        Weighted().variants(group(), WeightedOptions(models=("four", "one")))
    with pytest.raises(UserError, match="weighted: models: weight-sum takes 2; 3 given"):
        Weighted().variants(group(), WeightedOptions(form="weight-sum"))
