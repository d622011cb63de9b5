"""The merge methods in plain NumPy, and against sd-mecha on checkpoints with true names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sd_mecha
import torch
from checkpoints import SD15, SDXL, state
from safetensors.torch import save_file

from afa_bench.architectures import layout, ldm, sd15, sdxl
from afa_bench.errors import UserError
from afa_bench.merging import methods
from afa_bench.merging.blocks import ByBlock
from afa_bench.merging.method import MergeMethod, find_merge_method, merge_method
from afa_bench.merging.place import Place
from afa_bench.merging.tensors import merge_tensor
from afa_bench.registry import available

A, B, C = (np.random.default_rng(n).standard_normal((40, 30)).astype(np.float32) for n in range(3))


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def merged(
    states: Sequence[Mapping[str, torch.Tensor]], method: MergeMethod, settings: Mapping[str, Any], table: Any = None
) -> dict[str, torch.Tensor]:
    """Every tensor of models, at the place that a layout gives it."""

    def place(key: str) -> Place:
        link = table.of_ldm(key) if table else None
        return Place(key, link.block if link else layout.BASE, table)

    return {key: merge_tensor([state[key] for state in states], method, settings, place(key)) for key in states[0]}


def test_the_linear_methods() -> None:
    a, b, c = (array.astype(float) for array in (A, B, C))
    close(methods.weighted(*tensors(A, B, C), weights=(0.2, 0.5, 0.3)), 0.2 * a + 0.5 * b + 0.3 * c)
    close(methods.weighted(*tensors(A, B, C)), (a + b + c) / 3)
    close(methods.weight_sum(*tensors(A, B), alpha=0.3), 0.7 * a + 0.3 * b)
    close(methods.add_difference(*tensors(A, B, C), alpha=0.7), a + 0.7 * (b - c))
    close(methods.sum_twice(*tensors(A, B, C), alpha=0.4, beta=0.3), 0.7 * (0.6 * a + 0.4 * b) + 0.3 * c)
    close(methods.triple_sum(*tensors(A, B, C), alpha=0.4, beta=0.3), 0.3 * a + 0.4 * b + 0.3 * c)


def test_train_difference() -> None:
    a, b, c = (array.astype(float) for array in (A, B, C))
    share = np.abs(b - a) / (np.abs(b - a) + np.abs(b - c))
    close(methods.train_difference(*tensors(A, B, C), alpha=0.5), a + 1.8 * 0.5 * share * (b - c))
    assert torch.equal(methods.train_difference(*tensors(A, A, A)), torch.from_numpy(A))


def test_ties_value_by_value() -> None:
    density, alpha = 0.3, 0.8
    changes = [array.astype(float) - A for array in (B, C)]
    kept = []
    for change in changes:
        limit = np.sort(np.abs(change), axis=None)[::-1][round(density * change.size) - 1]
        kept.append(np.where(np.abs(change) >= limit, change, 0))
    expected = A.astype(float).copy()
    for place in np.ndindex(A.shape):
        values = [change[place] for change in kept]
        agreeing = [value for value in values if value and np.sign(value) == np.sign(sum(values))]
        if agreeing:
            expected[place] += alpha * sum(agreeing) / len(agreeing)
    close(methods.ties(*tensors(A, B, C), alpha=alpha, density=density), expected)


def test_dare_keeps_a_share_and_rescales_it() -> None:
    base, model = torch.zeros(200, 200), torch.ones(200, 200)
    found = methods.dare(base, model, density=0.25, seed=1)
    assert set(found.unique().tolist()) == {0.0, 4.0}
    assert found.eq(4).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(found, methods.dare(base, model, density=0.25, seed=1))
    assert not torch.equal(found, methods.dare(base, model, density=0.25, seed=2))
    close(methods.dare(*tensors(A, B, C), alpha=0.5, density=1.0), A + 0.5 * ((B - A) + (C - A)) / 2)


@pytest.mark.parametrize("settings", [{}, {"seed": 3, "density": 0.5}])
def test_dare_draws_for_each_tensor_whatever_their_order(settings: dict[str, Any]) -> None:
    one, two = {"x": torch.zeros(50), "y": torch.zeros(50)}, {"x": torch.ones(50), "y": torch.ones(50)}
    forth = merged([one, two], methods.dare, settings)
    back = [{key: s[key] for key in reversed(s)} for s in (one, two)]
    assert all(torch.equal(value, forth[key]) for key, value in merged(back, methods.dare, settings).items())
    assert not torch.equal(forth["x"], forth["y"])


@pytest.mark.parametrize("name", available("merge_methods"))
def test_alike_models_are_copied_to_the_bit(name: str) -> None:
    tensor = torch.randn(64).half()
    count = 2 if name == "weight-sum" else 3
    method = find_merge_method(name, "test")
    found = merge_tensor([tensor.clone() for _ in range(count)], method, {}, Place("x", layout.BASE, sd15.SD15.layout))
    assert torch.equal(found.view(torch.int16), tensor.view(torch.int16))


def test_all_the_weight_on_one_is_that_one_to_the_bit() -> None:
    tensor = torch.tensor([-0.0, 1e-8, 65504.0, 3.1]).half()
    other = torch.tensor([1.0, float("inf"), float("nan"), 2.0]).half()
    found = merge_tensor([other, tensor], methods.weighted, {"weights": (0.0, 1.0)}, Place("x"))
    assert torch.equal(found.view(torch.int16), tensor.view(torch.int16))


def test_what_a_method_does_not_take() -> None:
    with pytest.raises(UserError, match="here: unknown merge method 'weigt-sum': did you mean 'weight-sum'"):
        find_merge_method("weigt-sum", "here")
    with pytest.raises(UserError, match="here: models: add-difference takes 3; 2 given"):
        methods.add_difference.require_fit(2, {}, "here")
    with pytest.raises(UserError, match="here: models: ties takes 2 or more; 1 given"):
        methods.ties.require_fit(1, {}, "here")
    with pytest.raises(UserError, match="here: weights: 2 given; expected one for each of the 3 models"):
        methods.weighted.require_fit(3, {"weights": (0.5, 0.5)}, "here")
    with pytest.raises(UserError, match=r"here: weights: expected numbers with the sum 1, found \[0.5, 0.6\]"):
        methods.weighted.require_fit(2, {"weights": (0.5, 0.6)}, "here")


def test_a_number_by_block() -> None:
    states = [{key: torch.full((2,), value) for key in ("model.diffusion_model.out.2.bias", "x")} for value in (0.0, 1.0)]
    alpha = ByBlock(blocks=tuple(n / 100 for n in range(25)), base=0.9)
    found = merged(states, methods.weight_sum, {"alpha": alpha}, sd15.SD15.layout)
    assert found["model.diffusion_model.out.2.bias"].tolist() == pytest.approx([0.24] * 2)
    assert found["x"].tolist() == pytest.approx([0.9] * 2)
    assert methods.sum_twice.numbers == ["alpha", "beta"]
    assert methods.dare.numbers == ["alpha"]


def test_what_is_no_merge_method() -> None:
    with pytest.raises(TypeError, match="bare: alpha: expected a type, a default"):

        @merge_method
        def bare(a: torch.Tensor, *, alpha) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return a

    with pytest.raises(TypeError, match="unseeded: a random method needs the keyword parameter seed"):

        @merge_method(random=True)
        def unseeded(a: torch.Tensor) -> torch.Tensor:
            return a


# --- sd-mecha


def theirs(recipe: Any) -> Mapping[str, torch.Tensor]:
    merged = sd_mecha.merge(recipe, output_dtype=torch.float32, check_extra_keys=False, threads=0)
    return {key: value for key, value in merged.items() if key != "__metadata__"}


def models(folder: Path, config: str) -> tuple[list[dict[str, torch.Tensor]], list[Any]]:
    """Weights of three models, and files with them for sd-mecha. Without the tensors that are never merged."""
    states = [{k: v for k, v in state(config, seed).items() if not ldm.carried(k)} for seed in range(3)]
    for seed, tensors in enumerate(states):
        save_file(tensors, folder / f"{seed}.safetensors")
    return states, [sd_mecha.model(folder / f"{seed}.safetensors", config) for seed in range(3)]


def same(name: str, settings: dict[str, Any], states: list[dict[str, torch.Tensor]], recipe: Any) -> None:
    other = theirs(recipe)
    found = merged(states, find_merge_method(name, "test"), settings)
    assert found.keys() == other.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, other[key], rtol=1e-6, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.slow
def test_the_methods_as_sd_mecha_computes_them(tmp_path: Path) -> None:
    states, (a, b, c) = models(tmp_path, SD15)
    same("weight-sum", {"alpha": 0.3}, states[:2], sd_mecha.weighted_sum(a, b, alpha=0.3))
    same("weighted", {}, states, sd_mecha.n_average(a, b, c))
    same("add-difference", {"alpha": 0.7}, states, sd_mecha.add_difference(a, b, c, alpha=0.7, clamp_to_ab=False))


@pytest.mark.slow
@pytest.mark.parametrize("config", [SD15, SDXL])
def test_block_weights_as_sd_mecha_places_them(tmp_path: Path, config: str) -> None:
    """Its table has the time embedding in BASE."""
    states, (a, b, _) = models(tmp_path, config)
    table = {SD15: sd15.SD15.layout, SDXL: sdxl.SDXL.layout}[config]
    values = [round(0.03 * (n + 1), 2) for n in range(len(table.blocks))]
    blocks = {**dict(zip(table.blocks, values, strict=True)), "BASE": 0.9, "VAE": 0.9}
    kind = {SD15: "sd1-supermerger_blocks", SDXL: "sdxl-supermerger_blocks"}[config]
    names = sd_mecha.extensions.model_configs.resolve(kind).keys()
    alpha = sd_mecha.literal({key: blocks[key] for key in names}, kind)
    other = theirs(sd_mecha.weighted_sum(a, b, alpha=sd_mecha.convert(alpha, config)))
    chain = (ByBlock(blocks=tuple(values), base=0.9),)
    found = merged(states[:2], methods.mbw, {"chain": chain, "time_embedding": "BASE"}, table)
    assert found.keys() == other.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, other[key], rtol=1e-6, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
