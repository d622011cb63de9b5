"""The ensemble and its training: the invariants of the paper, each a test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from aggregators import Pick, randomised, tiny_sabw
from diffusers import StableDiffusionPipeline
from tiny import tiny_unet
from unet_cases import CASES

from afa_bench.afa.method import AFA, AFAOptions
from afa_bench.afa.sabw import SABW
from afa_bench.ensembles.aggregator import Average
from afa_bench.ensembles.unets import EnsembleUNet
from afa_bench.errors import UserError
from afa_bench.method import Model


def inputs(n_models: int = 3, size: tuple[int, int] = (8, 8)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A sample, timesteps, and other text states for each model."""
    random = torch.Generator().manual_seed(4)
    sample = torch.randn(2, 4, *size, generator=random)
    return sample, torch.tensor([20, 900]), torch.randn(2, 6, n_models * 16, generator=random)


def same_text(n_models: int = 3, size: tuple[int, int] = (8, 8)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sample, timestep, text = inputs(1, size)
    return sample, timestep, text.repeat(1, 1, n_models)


def unets(count: int = 3) -> list[Any]:
    return [tiny_unet(seed) for seed in range(count)]


@pytest.mark.parametrize("size", [(8, 8), (9, 7)], ids=str)
@pytest.mark.parametrize("n_models", [2, 3, 6])
def test_copies_of_one_model_are_that_model(n_models: int, size: tuple[int, int]) -> None:
    ensemble = EnsembleUNet([tiny_unet(0)] * n_models, randomised(tiny_sabw(n_models)))
    with torch.no_grad():
        expected = tiny_unet(0)(*inputs(1, size)).sample
        found = ensemble(*same_text(n_models, size)).sample
    assert (found - expected).abs().max() < 3e-6 * expected.abs().max()


def test_fresh_is_block_averaging() -> None:
    with torch.no_grad():
        fresh = EnsembleUNet(unets(), tiny_sabw())(*inputs()).sample
        average = EnsembleUNet(unets(), Average())(*inputs()).sample
        trained = EnsembleUNet(unets(), randomised(tiny_sabw()))(*inputs()).sample
    torch.testing.assert_close(fresh, average, rtol=1e-5, atol=1e-6)
    assert (trained - average).abs().max() > 1e-3


@pytest.mark.parametrize("shape", ["sdxl", "sdxl-refiner"])
def test_the_invariants_hold_for_sdxl(shape: str) -> None:
    """Copies are the model, a fresh aggregator averages; each model has its own text and its own pooled text."""
    settings, named = CASES[shape]
    times = named["added_cond_kwargs"]["time_ids"]
    pair = [tiny_unet(seed, **settings) for seed in (0, 1)]
    sample, timestep, text = inputs(2, (9, 6))
    pooled = torch.randn(2, 20, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    fresh = SABW.for_model(pair[0], 2, hidden=8, layers=1)
    one = {"added_cond_kwargs": {"time_ids": times, "text_embeds": pooled[:, 10:].contiguous()}}
    both = {"added_cond_kwargs": {"time_ids": times, "text_embeds": pooled}}

    with torch.no_grad():
        expected = pair[1](sample, timestep, text[..., 16:].contiguous(), **one).sample
        assert torch.equal(EnsembleUNet(pair, Pick(1))(sample, timestep, text, **both).sample, expected)
        average = EnsembleUNet(pair, Average())(sample, timestep, text, **both).sample
        torch.testing.assert_close(
            EnsembleUNet(pair, fresh)(sample, timestep, text, **both).sample, average, rtol=1e-5, atol=1e-6
        )
        copies = EnsembleUNet([pair[1]] * 2, randomised(fresh))(sample, timestep, text[..., 16:].contiguous(), **one).sample
    assert (copies - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_each_model_has_its_own_text_and_time(chosen: int) -> None:
    """An aggregator that always takes one model's features leaves that model alone with its own text."""
    sample, timestep, text = inputs()
    with torch.no_grad():
        found = EnsembleUNet(unets(), Pick(chosen))(sample, timestep, text).sample
        expected = tiny_unet(chosen)(sample, timestep, text.chunk(3, dim=-1)[chosen].contiguous()).sample
    assert torch.equal(found, expected)


def test_the_aggregator_s_time_and_text_are_means() -> None:
    sample, timestep, text = inputs()
    models, aggregator = unets(), Pick(0)
    with torch.no_grad():
        EnsembleUNet(models, aggregator)(sample, timestep, text)
        embeddings = [unet.time_embedding(unet.get_time_embed(sample=sample, timestep=timestep)) for unet in models]
    assert (len(aggregator.given), aggregator.prepared) == (25, 1)
    for temb, states in aggregator.given:
        torch.testing.assert_close(temb, torch.stack(embeddings).mean(0))
        torch.testing.assert_close(states, torch.stack(text.chunk(3, dim=-1)).mean(0))


def test_a_batch_s_rows_do_not_mix() -> None:
    ensemble = EnsembleUNet(unets(), randomised(tiny_sabw(), scale=0.1))
    sample, timestep, text = inputs()
    with torch.no_grad():
        whole = ensemble(sample, timestep, text).sample
        rows = [ensemble(sample[n : n + 1], timestep[n : n + 1], text[n : n + 1]).sample for n in range(2)]
    torch.testing.assert_close(whole, torch.cat(rows), rtol=1e-4, atol=1e-5)


def test_maps_of_a_run() -> None:
    sabw = randomised(tiny_sabw())
    ensemble = EnsembleUNet(unets(), sabw)
    with torch.no_grad(), sabw.record() as maps:
        for _ in range(2):
            ensemble(*inputs())
    assert sorted(maps) == list(range(25))
    for calls in maps.values():
        assert len(calls) == 2
        torch.testing.assert_close(calls[0].sum(dim=1), torch.ones_like(calls[0][:, 0]))
    assert maps[24][0].shape == (2, 3, 8, 8)


def test_it_stands_in_a_stock_pipeline(tiny_group: Path) -> None:
    """Copies of the pipeline's own U-Net draw what it draws; AFA of other models draws something else."""
    pipe = StableDiffusionPipeline.from_pretrained(tiny_group.parent / "base", safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    states, empty = pipe.encode_prompt("a red dog", "cpu", 1, True)
    own = pipe.unet

    def draw(unet: Any, count: int) -> torch.Tensor:
        pipe.unet = unet
        prompts = {"prompt_embeds": states.repeat(1, 1, count), "negative_prompt_embeds": empty.repeat(1, 1, count)}
        seed = torch.Generator().manual_seed(1)
        return pipe(**prompts, num_inference_steps=3, generator=seed, output_type="latent", height=8, width=8).images  # type: ignore[no-any-return]

    expected = draw(own, 1)
    torch.testing.assert_close(draw(EnsembleUNet([own] * 3, randomised(tiny_sabw())), 3), expected, rtol=1e-4, atol=1e-5)
    other = EnsembleUNet(unets(), randomised(tiny_sabw()))
    assert other.config.block_out_channels == (8, 16, 16, 16)
    assert (other.dtype, other.device) == (torch.float32, torch.device("cpu"))
    assert (draw(other, 3) - expected).abs().max() > 1e-3


def test_models_that_differ_are_refused() -> None:
    with pytest.raises(UserError, match="U-Nets: attention_head_dim: model 2 has 4; expected 2"):
        EnsembleUNet([tiny_unet(0), tiny_unet(0, attention_head_dim=4)], Average())
    EnsembleUNet([tiny_unet(0), tiny_unet(0, sample_size=96)], Average())


def test_text_of_another_width_is_refused() -> None:
    sample, timestep, text = inputs(2)
    with pytest.raises(UserError, match="last axis: 32; expected 3 models' states of 16 side by side, or one for all"):
        EnsembleUNet(unets(), Average())(sample, timestep, text)


# --- the method


def models(count: int = 3) -> list[Model]:
    encoder = torch.nn.Identity()
    return [Model(f"model {seed}", unet, encoder) for seed, unet in enumerate(unets(count))]


def group(sabw: Path | None = None) -> Any:
    return SimpleNamespace(name="tiny", sabw=sabw, models=())


def test_the_method_loads_the_group_s_or_the_given_aggregator(tmp_path: Path) -> None:
    sabw = randomised(tiny_sabw())
    sabw.save_pretrained(tmp_path)
    for where, options in ((group(tmp_path), AFAOptions()), (group(tmp_path / "no"), AFAOptions(sabw=tmp_path))):
        assert AFA().weights(where, options) == {"sabw": tmp_path}
        denoiser = AFA().build(where, models(), options)
        assert len(denoiser.text_encoders) == 3
        with torch.no_grad():
            assert torch.equal(denoiser.unet(*inputs()).sample, EnsembleUNet(unets(), sabw)(*inputs()).sample)


def test_the_method_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="afa: sabw: group tiny has no aggregator"):
        AFA().weights(group(), AFAOptions())
    tiny_sabw(2).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="n_models"):
        AFA().build(group(tmp_path), models(), AFAOptions())


def test_the_aggregator_follows_its_models(tmp_path: Path) -> None:
    tiny_sabw().save_pretrained(tmp_path)
    half = [Model(model.name, model.unet.to(torch.bfloat16), model.text_encoder) for model in models()]
    denoiser = AFA().build(group(tmp_path), half, AFAOptions())
    assert {value.dtype for value in denoiser.unet.state_dict().values()} == {torch.bfloat16}
    sample, timestep, text = inputs()
    with torch.no_grad():
        out = denoiser.unet(sample.bfloat16(), timestep, text.bfloat16()).sample
    assert out.dtype == torch.bfloat16
    assert isinstance(denoiser.unet.aggregator, SABW)


@pytest.mark.parametrize("form", ["text", ["spatial", "timestep"]])
def test_the_method_takes_parts_away(tmp_path: Path, form: Any) -> None:
    sabw = randomised(tiny_sabw())
    sabw.save_pretrained(tmp_path)
    options = AFAOptions(without=form)
    denoiser = AFA().build(group(tmp_path), models(), options)
    expected = EnsembleUNet(unets(), sabw.ablated(options.without))
    with torch.no_grad():
        assert torch.equal(denoiser.unet(*inputs()).sample, expected(*inputs()).sample)
        assert not torch.equal(denoiser.unet(*inputs()).sample, EnsembleUNet(unets(), sabw)(*inputs()).sample)


def test_last_only_has_n_streams(tmp_path: Path) -> None:
    sabw = randomised(tiny_sabw())
    sabw.save_pretrained(tmp_path)
    unet = AFA().build(group(tmp_path), models(), AFAOptions(last_only=True)).unet
    sample, timestep, text = inputs()
    with torch.no_grad():
        noises = [unet(sample, timestep, own).sample for unet, own in zip(unets(), text.chunk(3, dim=-1), strict=True)]
        with unet.aggregator.record() as maps:
            found = unet(sample, timestep, text).sample
        (weights,) = maps[24]
        torch.testing.assert_close(found, sum(weights[:, n, None] * noises[n] for n in range(3)))
        assert weights.std() > 1e-3
        fresh = EnsembleUNet(unets(), tiny_sabw(last_only=True))(sample, timestep, text).sample
    torch.testing.assert_close(fresh, torch.stack(noises).mean(0), rtol=1e-5, atol=1e-6)


def test_one_text_for_all() -> None:
    sample, timestep, text = inputs(1)
    ensemble = EnsembleUNet(unets(), randomised(tiny_sabw()))
    with torch.no_grad():
        assert torch.equal(ensemble(sample, timestep, text).sample, ensemble(sample, timestep, text.repeat(1, 1, 3)).sample)


def test_options_as_they_always_were_leave_no_trace_in_results() -> None:
    assert AFAOptions().model_dump(mode="json", exclude={"sabw"}) == {}
    assert AFAOptions(without="text").model_dump(mode="json", exclude={"sabw"}) == {"without": ["text"]}
    assert AFAOptions(last_only=True).model_dump(mode="json", exclude={"sabw"}) == {"last_only": True}
