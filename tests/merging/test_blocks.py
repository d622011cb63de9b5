"""Block weights: presets value by value, the simplex, the chain, and the method on models in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tiny import tiny_unet

from afa_bench.architectures import sd15, sdxl
from afa_bench.architectures.layout import BASE, TIME, Layout
from afa_bench.architectures.ldm import layout_of_unet
from afa_bench.errors import UserError
from afa_bench.merging import methods
from afa_bench.merging.blocks import ByBlock
from afa_bench.merging.place import Place
from afa_bench.method import Model
from baselines.mbw import MBW
from baselines.merge import Merge, MergeOptions

NAMES = ("one", "two", "three")
SD15, SDXL = sd15.SD15.layout, sdxl.SDXL.layout


def group() -> Any:
    return SimpleNamespace(name="tiny", family=sd15.SD15(), models=[SimpleNamespace(name=name) for name in NAMES])


def models() -> list[Model]:
    torch.manual_seed(0)
    return [Model(name, tiny_unet(seed), torch.nn.Linear(4, 4)) for seed, name in enumerate(NAMES)]


def weights(layout: Layout, count: int, **settings: Any) -> dict[str, tuple[float, ...]]:
    return {block: tuple(methods.mbw.shares(count, settings, Place("", block, layout))) for block in (*layout.blocks, TIME, BASE)}


def test_a_simplex_is_uniform_by_default() -> None:
    for layout, count in ((SD15, 25), (SDXL, 19)):
        found = weights(layout, 3)
        assert len(found) == count + 2
        assert set(found.values()) == {(1 / 3,) * 3}


def test_a_chain_is_two_merges_after_each_other() -> None:
    first, second = tuple(0.01 * i for i in range(25)), tuple(1 - 0.02 * i for i in range(25))
    found = weights(SD15, 3, chain=(ByBlock(blocks=first, base=0.2), ByBlock(blocks=second, base=0.7)))
    for block, a, b in zip((*SD15.blocks, BASE), (*first, 0.2), (*second, 0.7), strict=True):
        assert found[block] == pytest.approx(((1 - a) * (1 - b), a * (1 - b), b))
        assert sum(found[block]) == pytest.approx(1)


def test_where_the_time_embedding_goes() -> None:
    step = ByBlock(blocks=(0.1,) + (0.5,) * 24, base=0.9)
    assert weights(SD15, 2, chain=(step,))[TIME] == pytest.approx((0.9, 0.1))
    assert weights(SD15, 2, chain=(step,), time_embedding="BASE")[TIME] == pytest.approx((0.1, 0.9))
    assert step.at(Place("", TIME, SD15)) == 0.1


@pytest.mark.parametrize(
    ("settings", "layout", "count", "message"),
    [
        ({"chain": (ByBlock(blocks=(0.1, 0.2, 0.3)),)}, SD15, 2, r"blocks: 3 weights; expected 25 for SD 1.5 \(IN00 ... OUT11\)"),
        ({"chain": (ByBlock(blocks="FLAT_25"),)}, SD15, 3, "chain: 1 merges; expected 2 for 3 models"),
        ({"chain": ()}, SD15, 2, "chain: 0 merges; expected 1 for 2 models"),
        ({"chain": (ByBlock(blocks="WRAP08"),)}, SDXL, 2, "preset WRAP08 is defined for 25 blocks; this model has 19"),
        ({"simplex": ((0.5, 0.5),) * 2}, SDXL, 2, "simplex: 2 rows; expected 19, one for each block of SDXL"),
        ({"simplex": ((0.5, 0.6),) * 25}, SD15, 2, r"IN00: \[0.5, 0.6\]; expected a weight of each of 2 models, with the sum 1"),
        ({"chain": (ByBlock(blocks="FLAT_25"),), "base": (0.5, 0.5)}, SD15, 2, "either a chain or a simplex"),
    ],
)
def test_weights_that_do_not_fit(settings: dict[str, Any], layout: Layout, count: int, message: str) -> None:
    with pytest.raises(UserError, match=f"mbw: .*{message}"):
        methods.mbw.require_fit(count, settings, "mbw", [Place("", layout.blocks[0], layout)])


def test_the_web_uis_strings_of_weights() -> None:
    numbers = [round(0.03 * n, 2) for n in range(26)]
    text = ",".join(map(str, numbers))
    assert ByBlock.model_validate(text) == ByBlock(blocks=tuple(numbers[1:]), base=0.0)
    assert ByBlock.model_validate({"blocks": ", ".join(map(str, numbers[1:])), "base": 0.4}).base == 0.4
    assert ByBlock.model_validate(",".join(["1"] * 20)) == ByBlock(blocks=(1.0,) * 19, base=1.0)
    assert ByBlock.model_validate("GRAD_V") == ByBlock(blocks="GRAD_V")
    with pytest.raises(ValidationError, match="26 weights, of which the first is BASE's; expected no base beside them"):
        ByBlock.model_validate({"blocks": text, "base": 0.4})
    with pytest.raises(ValidationError, match=r"expected numbers with commas between them, found '0\.1, x'"):
        ByBlock.model_validate("0.1, x")


def test_the_method_merges_each_block_with_its_own_weights() -> None:
    loaded = models()
    rows = [
        tuple(row) for row in torch.softmax(torch.randn(25, 3, generator=torch.Generator().manual_seed(1)).double(), 1).tolist()
    ]
    options = MBW.Options(settings={"simplex": tuple(rows), "base": (0.2, 0.3, 0.5)})
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
    block = MBW().build(group(), loaded, MBW.Options()).unet.state_dict()
    plain = Merge().build(group(), loaded, MergeOptions()).unet.state_dict()
    assert all(torch.equal(block[key], value) for key, value in plain.items())


def test_a_merge_method_as_a_method_of_suites() -> None:
    loaded = models()
    one, two, three = (model.unet.state_dict() for model in loaded)
    options = MergeOptions(method="add-difference", models=("three", "one", "two"), settings={"alpha": 0.5})
    assert list(Merge().variants(group(), options)) == ["add-difference"]
    found = Merge().build(group(), loaded, options).unet.state_dict()
    for key, value in found.items():
        torch.testing.assert_close(value, three[key] + 0.5 * (one[key] - two[key]))
    with pytest.raises(UserError, match="merge: models: unknown model 'four'"):
        Merge().variants(group(), MergeOptions(models=("four", "one")))
    with pytest.raises(UserError, match="merge: models: weight-sum takes 2; 3 given"):
        Merge().variants(group(), MergeOptions(method="weight-sum"))
