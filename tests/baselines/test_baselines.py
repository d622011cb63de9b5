"""The methods that AFA is compared with, each against a plain loop."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import tiny_unet

import afa_bench
from afa_bench.architectures.sd15 import SD15
from afa_bench.errors import UserError
from afa_bench.identity import canonical
from afa_bench.log import deprecated
from afa_bench.merging.methods import weighted
from afa_bench.merging.place import Place
from afa_bench.merging.tensors import merge_tensor, require_same_keys
from afa_bench.method import Model, Options
from baselines.base import Base, BaseOptions
from baselines.block_average import BlockAverage
from baselines.mbw import MBW
from baselines.merge import Merge, MergeOptions, Weighted
from baselines.noise_average import NoiseAverage

NAMES = ("one", "two", "three")


def group() -> Any:
    return SimpleNamespace(name="tiny", family=SD15(), models=[SimpleNamespace(name=name) for name in NAMES])


def models(shared: bool = True) -> list[Model]:
    """Three U-Nets, with one text encoder or their own."""
    torch.manual_seed(0)
    encoders = [torch.nn.Linear(4, 4)] * 3 if shared else [torch.nn.Linear(4, 4) for _ in NAMES]
    return [Model(name, tiny_unet(seed), encoders[seed]) for seed, name in enumerate(NAMES)]


def inputs(count: int = 3) -> tuple[torch.Tensor, int, torch.Tensor]:
    random = torch.Generator().manual_seed(4)
    return torch.randn(2, 4, 8, 8, generator=random), 300, torch.randn(2, 6, count * 16, generator=random)


def test_the_harness_knows_no_baseline() -> None:
    """``afa_bench`` never imports ``baselines``, however deep the import."""
    root = Path(afa_bench.__file__).parent
    files = list(root.rglob("*.py"))
    assert root / "method.py" in files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "baselines" for name in names), f"{file.relative_to(root)}:{node.lineno}"


# --- base


def test_base_is_a_row_a_model() -> None:
    assert Base().variants(group(), BaseOptions()) == {name: BaseOptions(model=name) for name in NAMES}
    assert Base().variants(group(), BaseOptions(model="two")) == {"two": BaseOptions(model="two")}
    loaded = models(shared=False)
    for model in loaded:
        denoiser = Base().build(group(), loaded, BaseOptions(model=model.name))
        assert denoiser.unet is model.unet
        assert list(denoiser.text_encoders) == [model.text_encoder]


def test_base_of_an_unknown_model() -> None:
    with pytest.raises(UserError, match="base: model: 'four' is not in group tiny; expected one or two or three"):
        Base().variants(group(), BaseOptions(model="four"))
    for options in (BaseOptions(), BaseOptions(model="four")):
        with pytest.raises(UserError, match="expected one or two or three"):
            Base().build(group(), models(), options)


# --- averages


def test_noise_average_is_the_mean_of_the_predictions() -> None:
    loaded = models()
    denoiser = NoiseAverage().build(group(), loaded, Options())
    sample, timestep, text = inputs()
    with torch.no_grad():
        found = denoiser.unet(sample, timestep, text).sample
        parts = text.chunk(3, dim=-1)
        alone = [m.unet(sample, timestep, part).sample for m, part in zip(loaded, parts, strict=True)]
    torch.testing.assert_close(found, torch.stack(alone).mean(0), rtol=1e-5, atol=1e-6)
    assert list(denoiser.text_encoders) == [model.text_encoder for model in loaded]


def test_noise_average_gives_each_model_the_adapter_s_residuals() -> None:
    sample, timestep, text = inputs(1)
    residuals = [torch.randn(2, width, side, side) for width, side in ((8, 8), (16, 4), (16, 2), (16, 1))]
    loaded = [Model(name, tiny_unet(0), torch.nn.Identity()) for name in NAMES]
    denoiser = NoiseAverage().build(group(), loaded, Options())
    with torch.no_grad():
        found = denoiser.unet(sample, timestep, text.repeat(1, 1, 3), down_intrablock_additional_residuals=residuals).sample
        expected = tiny_unet(0)(sample, timestep, text, down_intrablock_additional_residuals=list(residuals)).sample
    assert len(residuals) == 4
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_block_average_is_the_mean_of_the_features() -> None:
    """The models are alike but for their first convolution, whose mean is the convolution of the mean."""
    unets = [tiny_unet(0) for _ in NAMES]
    for seed, unet in enumerate(unets):
        unet.conv_in.load_state_dict(tiny_unet(seed).conv_in.state_dict())
    expected = tiny_unet(0)
    for key in ("weight", "bias"):
        getattr(expected.conv_in, key).data = torch.stack([getattr(unet.conv_in, key).data for unet in unets]).mean(0)
    loaded = [Model(name, unet, torch.nn.Identity()) for name, unet in zip(NAMES, unets, strict=True)]
    sample, timestep, text = inputs(1)
    with torch.no_grad():
        found = BlockAverage().build(group(), loaded, Options()).unet(sample, timestep, text.repeat(1, 1, 3)).sample
        torch.testing.assert_close(found, expected(sample, timestep, text).sample, rtol=1e-4, atol=1e-5)


def test_the_two_averages_differ() -> None:
    loaded = models()
    with torch.no_grad():
        block, noise = (kind().build(group(), loaded, Options()).unet(*inputs()).sample for kind in (BlockAverage, NoiseAverage))
    assert (block - noise).abs().max() > 1e-3


# --- weighted merging


@pytest.mark.parametrize("weights", [None, (0.5, 0.3, 0.2), (1.4, -0.2, -0.2)])
def test_a_merge_is_a_plain_loop(weights: tuple[float, ...] | None) -> None:
    loaded = models(shared=False)
    before = [{key: value.clone() for key, value in model.unet.state_dict().items()} for model in loaded]
    denoiser = Merge().build(group(), loaded, MergeOptions(settings={"weights": weights}))
    w = weights or (1 / 3, 1 / 3, 1 / 3)
    for found, sources in (
        (denoiser.unet.state_dict(), [model.unet.state_dict() for model in loaded]),
        (denoiser.text_encoders[0].state_dict(), [model.text_encoder.state_dict() for model in loaded]),
    ):
        assert found.keys() == sources[0].keys()
        for key, value in found.items():
            torch.testing.assert_close(value, w[0] * sources[0][key] + w[1] * sources[1][key] + w[2] * sources[2][key])
    for model, state in zip(loaded, before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in model.unet.state_dict().items())
    assert len(denoiser.text_encoders) == 1


def test_one_text_encoder_is_not_merged() -> None:
    loaded = models(shared=True)
    assert Merge().build(group(), loaded, MergeOptions()).text_encoders[0] is loaded[0].text_encoder


def merged(*states: dict[str, torch.Tensor], weights: tuple[float, ...] | None = None) -> dict[str, torch.Tensor]:
    require_same_keys(states, [f"m{n}" for n, _ in enumerate(states, 1)])
    return {key: merge_tensor([state[key] for state in states], weighted, {"weights": weights}, Place(key)) for key in states[0]}


def test_identical_sources_keep_their_bits() -> None:
    for dtype in (torch.float32, torch.float16):
        state = {"w": torch.randn(1000).to(dtype)}
        assert torch.equal(merged(*({"w": state["w"].clone()} for _ in range(3)))["w"], state["w"])


def test_all_the_weight_on_one_source_is_that_source() -> None:
    states = [{"w": torch.randn(1000)} for _ in range(3)]
    assert torch.equal(merged(*states, weights=(0.0, 1.0, 0.0))["w"], states[1]["w"])


def test_half_precision_is_summed_in_fp32_and_cast_once() -> None:
    states = [{"w": torch.randn(1000).half()} for _ in range(3)]
    one, two, three = (state["w"].float() for state in states)
    found = merged(*states, weights=(0.5, 0.3, 0.2))["w"]
    assert torch.equal(found, (0.5 * one + 0.3 * two + 0.2 * three).half())
    assert not torch.equal(found, 0.5 * one.half() + 0.3 * two.half() + 0.2 * three.half())


def test_integers_and_position_ids_are_copied() -> None:
    one = {"steps": torch.tensor([3]), "text.position_ids": torch.arange(4.0), "w": torch.zeros(2)}
    two = {"steps": torch.tensor([5]), "text.position_ids": torch.arange(4.0) + 0.5, "w": torch.ones(2)}
    found = merged(one, two)
    assert torch.equal(found["steps"], one["steps"])
    assert torch.equal(found["text.position_ids"], one["text.position_ids"])
    assert torch.equal(found["w"], torch.full((2,), 0.5))


def test_keys_that_do_not_match_are_listed() -> None:
    one = {"a": torch.zeros(1), "b": torch.zeros(1), "c": torch.zeros(2)}
    two = {"a": torch.zeros(1), "c": torch.zeros(3), "d": torch.zeros(1)}
    with pytest.raises(UserError, match="m2 lacks b; m1 lacks d; m2 has another shape of c; expected the same"):
        merged(one, two)
    many = {**one, **{f"k{n:02}": torch.zeros(1) for n in range(15)}}
    with pytest.raises(UserError, match=r"m2 lacks k00, .*, k09 and 5 more"):
        merged(many, one)


def test_models_that_compute_differently_are_not_merged() -> None:
    """Another number of heads leaves every shape as it is, and another model."""
    loaded = [
        Model("one", tiny_unet(0), torch.nn.Identity()),
        Model("two", tiny_unet(1, attention_head_dim=4), torch.nn.Identity()),
    ]
    with pytest.raises(UserError, match="U-Nets: attention_head_dim: model 2 has 4; expected 2"):
        Merge().build(group(), loaded, MergeOptions())


def test_weights_are_checked() -> None:
    for weights, message in (([0.5, 0.4, 0], "expected numbers with the sum 1"), ([0.5, 0.5], "2 given; expected one for each")):
        options = Merge().read_options({"weights": weights}, "suite: merge", Path())
        with pytest.raises(UserError, match=f"merge: weights: {message}"):
            Merge().variants(group(), options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "tis"}, "here: method: unknown merge method 'tis': did you mean 'ties'"),
        ({"method": "ties", "densty": 0.1}, "here: densty: unknown option: did you mean 'density'"),
        ({"method": "ties", "alpha": True}, r"here: alpha: Input should be a valid number"),
        ({"method": "ties", "alpha": "0.5"}, "here: alpha"),
        ({"method": "ties", "alpha": float("nan")}, r"here: alpha: Input should be a finite number"),
        ({"method": "ties", "density": 0}, "here: density: Input should be greater than 0"),
        ({"method": "dare", "seed": 0.5}, "here: seed: Input should be a valid integer"),
        ({"weights": [True, False, False]}, "here: weights"),
        ({"weights": 1}, "here: weights"),
        ({"recipe": "r.yaml", "alpha": 1}, "here: recipe: has the method, its settings and the models; expected no other option"),
    ],
)
def test_options_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Merge().read_options(given, "here", Path())


def identity(merge: Any, **given: Any) -> Any:
    return json.loads(canonical(merge.identity(merge.read_options(given, "here", Path()))))


def test_the_identity_of_a_merge_is_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """Under its old names, its new ones and ``mbw``."""
    deprecated.cache_clear()
    nothing = dict.fromkeys(("alpha", "beta", "density", "models", "seed", "weights"))
    plain = {"name": "weighted", "version": 1, "options": {**nothing, "form": "weighted"}}
    assert identity(Merge()) == identity(Merge(), method="weighted") == identity(Weighted()) == plain
    given = {"alpha": 1, "models": ["b", "a", "c"]}
    added = {"name": "weighted", "version": 1, "options": {**nothing, **given, "alpha": 1.0, "form": "add-difference"}}
    assert identity(Merge(), method="add-difference", **given) == identity(Weighted(), form="add-difference", **given) == added
    assert identity(Merge(), method="dare")["version"] == 2
    chain = {"chain": [{"blocks": "GRAD_A"}, {"blocks": "RING10_3", "base": 0}]}
    ring = [0.0] * 6 + [1.0] * 5 + [0.0] * 3 + [1.0] * 5 + [0.0] * 6
    steps = [{"base": 0.5, "blocks": "GRAD_A"}, {"base": 0.0, "blocks": ring}]
    options = {"base": None, "chain": steps, "models": None, "recipe": None, "simplex": None, "time_embedding": "IN00"}
    assert identity(MBW(), **chain) == identity(Merge(), method="mbw", **chain)
    assert identity(MBW(), **chain) == {"name": "mbw", "version": 1, "options": options}
    assert [record.getMessage() for record in caplog.records] == [
        "the method weighted is the old name of merge; write the new one",
        "form is the old name of method; write the new one",
    ]


def test_the_rows_of_merges() -> None:
    for method, given, label in ((Merge(), {}, "weighted"), (Merge(), {"method": "ties"}, "ties"), (MBW(), {}, "mbw")):
        assert list(method.variants(group(), method.read_options(given, "here", Path()))) == [label]
    assert list(Weighted().variants(group(), Weighted().read_options({"form": "dare"}, "here", Path()))) == ["weighted"]
