"""FLUX: a transformer walked block by block is that transformer, and the invariants of AFA hold on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aggregators import Pick, randomised
from diffusers import FluxTransformer2DModel
from tiny import tiny_flux
from unet_cases import randn

from afa_bench.afa.sabw import SABW
from afa_bench.architectures.find import view_of
from afa_bench.architectures.flux_blocks import FluxView, grid, residuals
from afa_bench.ensembles.aggregator import Average
from afa_bench.ensembles.flux import EnsembleFlux
from afa_bench.errors import UserError


def positions(height: int, width: int) -> torch.Tensor:
    """The ids of an image's tokens, as the stock pipeline makes them."""
    ids = torch.zeros(height, width, 3)
    ids[..., 1] += torch.arange(height)[:, None]
    ids[..., 2] += torch.arange(width)
    return ids.flatten(0, 1)


def inputs(size: tuple[int, int] = (4, 3), texts: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "hidden_states": randn(2, size[0] * size[1], 8),
        "encoder_hidden_states": randn(2, 5, 12 * texts),
        "pooled_projections": randn(2, 10 * texts),
        "timestep": torch.tensor([0.3, 0.9]),
        "img_ids": positions(*size),
        "txt_ids": torch.zeros(5, 3),
        "guidance": torch.tensor([3.5, 1.0]),
        **changes,
    }


def models(count: int = 3) -> list[FluxTransformer2DModel]:
    return [tiny_flux(seed) for seed in range(count)]


def tiny_sabw(n_models: int = 3, **settings: Any) -> SABW:
    torch.manual_seed(1)
    return SABW.for_model(tiny_flux(0), n_models, **{"hidden": 16, **settings})


def same(model: FluxTransformer2DModel, **named: Any) -> None:
    """The stock forward and the block-wise one of one model give the same bits."""
    with torch.no_grad():
        stock = model(**named).sample
        walked = EnsembleFlux([model], Average())(**named).sample
    assert torch.isfinite(stock).all()
    assert torch.equal(stock, walked)


TWO, THREE = [randn(2, 12, 16), randn(2, 12, 16) + 1], [randn(2, 12, 16) * n for n in (1, 2, 3)]
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "controlnet": {"controlnet_block_samples": TWO, "controlnet_single_block_samples": THREE},
    "controlnet-fewer": {"controlnet_block_samples": TWO[:1], "controlnet_single_block_samples": TWO},
    "controlnet-in-turn": {"controlnet_block_samples": THREE[:1], "controlnet_blocks_repeat": True},
    "scale-of-one": {"joint_attention_kwargs": {"scale": 1.0}},
    "mask": {"joint_attention_kwargs": {"attention_mask": torch.rand(2, 1, 17, 17, generator=torch.Generator()) > 0.3}},
    "ids-of-a-batch": {"img_ids": positions(4, 3)[None], "txt_ids": torch.zeros(1, 5, 3)},
}


@pytest.mark.parametrize("case", CASES)
def test_one_model_is_itself(case: str) -> None:
    same(tiny_flux(0), **inputs(**CASES[case]))


@pytest.mark.parametrize("size", [(1, 1), (5, 2), (7, 9)], ids=str)
def test_one_model_is_itself_at_any_size(size: tuple[int, int]) -> None:
    same(tiny_flux(0), **inputs(size))


def test_a_model_without_guidance_and_in_half_precision() -> None:
    same(tiny_flux(0, guidance_embeds=False), **inputs(guidance=None))
    half = {key: value.bfloat16() if value.is_floating_point() else value for key, value in inputs().items()}
    same(tiny_flux(0).bfloat16(), **half)


def test_residuals_are_dealt_as_in_the_stock_forward() -> None:
    a, b, c = torch.tensor(1), torch.tensor(2), torch.tensor(3)
    assert residuals(5, 2, [a, b], None) == [a, a, a, b, b, None, None]
    assert residuals(3, 4, [a, b], [a, b, c], repeat=True) == [a, b, a, a, a, b, b]


@pytest.mark.parametrize("n_models", [2, 3, 6])
def test_copies_of_one_model_are_that_model(n_models: int) -> None:
    model = tiny_flux(0)
    with torch.no_grad():
        expected = model(**inputs()).sample
        found = EnsembleFlux([model] * n_models, randomised(tiny_sabw(n_models)))(**inputs()).sample
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_fresh_is_block_averaging() -> None:
    with torch.no_grad():
        fresh = EnsembleFlux(models(), tiny_sabw())(**inputs(texts=3)).sample
        mean = EnsembleFlux(models(), Average())(**inputs(texts=3)).sample
        trained = EnsembleFlux(models(), randomised(tiny_sabw()))(**inputs(texts=3)).sample
    torch.testing.assert_close(fresh, mean, rtol=1e-5, atol=1e-6)
    assert (trained - mean).abs().max() > 1e-3


def test_fresh_last_only_is_noise_averaging() -> None:
    sabw = tiny_sabw(last_only=True)
    assert len(sabw.blocks) == 1
    with torch.no_grad():
        found = EnsembleFlux(models(), sabw)(**inputs()).sample
        expected = torch.stack([model(**inputs()).sample for model in models()]).mean(0)
        block_wise = EnsembleFlux(models(), tiny_sabw())(**inputs()).sample
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (found - block_wise).abs().max() > 1e-3


def test_each_model_has_its_own_text() -> None:
    """An aggregator that always takes one model leaves that model alone with its own text and pooled text, in both streams."""
    both = inputs(texts=2)
    own = {key: both[key].chunk(2, -1)[1] for key in ("encoder_hidden_states", "pooled_projections")}
    with torch.no_grad():
        found = EnsembleFlux(models(2), Pick(1))(**both).sample
        expected = tiny_flux(1)(**{**both, **own}).sample
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_maps_lie_on_the_image() -> None:
    sabw = randomised(tiny_sabw())
    with torch.no_grad(), sabw.record() as maps:
        EnsembleFlux(models(), sabw)(**inputs((4, 3)))
    assert sorted(maps) == list(range(5))
    for (found,) in maps.values():
        assert found.shape == (2, 3, 4, 3)
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 4, 3))


def test_only_the_zero_convolutions_learn_at_first_then_all() -> None:
    sabw = tiny_sabw(2)
    ensemble = EnsembleFlux(models(2), sabw).requires_grad_(False)
    sabw.requires_grad_(True)
    optimizer = torch.optim.AdamW(sabw.parameters(), lr=1e-2)

    def moved() -> set[str]:
        optimizer.zero_grad()
        ensemble(**inputs(texts=2)).sample.square().mean().backward()
        return {name for name, value in sabw.named_parameters() if value.grad is not None and value.grad.abs().max() > 0}

    before = {key: value.clone() for key, value in ensemble.models.state_dict().items()}
    assert moved() == {f"blocks.{index}.conv_out.weight" for index in range(5)}
    optimizer.step()
    assert moved() == {name for name, _ in sabw.named_parameters()}
    assert all(torch.equal(value, before[key]) for key, value in ensemble.models.state_dict().items())


def test_flux_1_s_partition() -> None:
    with torch.device("meta"):
        view = view_of(FluxTransformer2DModel(guidance_embeds=True))
    assert isinstance(view, FluxView)
    assert view.channels == (3072,) * 56 + (64,)
    assert [view[index].name for index in (0, 18, 19, 56)] == [
        "transformer_blocks.0", "transformer_blocks.18", "single_transformer_blocks.0", "single_transformer_blocks.37",
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "blocks", "projection"), [(None, 141_531_136, 3_146_496), (4096, 238_655_488, 0)])
def test_parameters_for_flux_1(text: int | None, blocks: int, projection: int) -> None:
    with torch.device("meta"):
        sabw = SABW.for_model(FluxTransformer2DModel(), 2, text=text)
    assert sum(value.numel() for value in sabw.blocks.parameters()) == blocks
    assert sum(value.numel() for value in sabw.parameters()) == blocks + projection


def test_text_is_projected_once() -> None:
    sabw = randomised(tiny_sabw(text=6))
    assert (sabw.config.text_in, sabw.config.text) == (12, 6)
    calls: list[Any] = []
    sabw.project.register_forward_hook(lambda *call: calls.append(call))
    with torch.no_grad():
        EnsembleFlux(models(), sabw)(**inputs())
    assert len(calls) == 1
    sabw.require_fit(tiny_flux(0), 3)
    assert tiny_sabw(without=["text"], text=6).project is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="FLUX: guidance_embeds: model 2 has False; expected True, which model 1 has"):
        EnsembleFlux([tiny_flux(0), tiny_flux(0, guidance_embeds=False)], Average())
    with pytest.raises(UserError, match="SABW: channels"):
        EnsembleFlux([tiny_flux(0, num_single_layers=2)] * 3, tiny_sabw())
    with pytest.raises(UserError, match=r"encoder_hidden_states: last axis: 24; expected 3 models' states of 12"):
        EnsembleFlux(models(), Average())(**inputs(texts=2, pooled_projections=randn(2, 10)))
    with pytest.raises(UserError, match="ip_adapter_image_embeds: IP-Adapters are not supported"):
        EnsembleFlux(models(), Average())(**inputs(joint_attention_kwargs={"ip_adapter_image_embeds": []}))
    with pytest.raises(UserError, match="FLUX: Linear is not supported"):
        FluxView(torch.nn.Linear(1, 1))


def test_tokens_of_two_images_are_refused() -> None:
    assert grid(positions(2, 5)) == (2, 5)
    for ids in (torch.cat([positions(2, 2), positions(2, 2)]), positions(2, 3).flip(0), positions(2, 3)[:5]):
        with pytest.raises(UserError, match=r"img_ids: .* expected one image's"):
            grid(ids)
