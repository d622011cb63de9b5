"""The ensemble and its training: the invariants of the paper, each a test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import tiny_unet
from diffusers import DDPMScheduler, StableDiffusionPipeline
from test_sabw import randomised, tiny_sabw

from afa_bench.afa.ensemble import EnsembleUNet, mean
from afa_bench.afa.last import LastBlockUNet
from afa_bench.afa.method import AFA, AFAOptions
from afa_bench.afa.sabw import SABW
from afa_bench.afa.train import Training, denoising_loss, generator, shuffled, train_sabw
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
        average = EnsembleUNet(unets(), mean)(*inputs()).sample
        trained = EnsembleUNet(unets(), randomised(tiny_sabw()))(*inputs()).sample
    torch.testing.assert_close(fresh, average, rtol=1e-5, atol=1e-6)
    assert (trained - average).abs().max() > 1e-3


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_each_model_has_its_own_text_and_time(chosen: int) -> None:
    """An aggregator that always takes one model's features leaves that model alone with its own text."""
    sample, timestep, text = inputs()

    def pick(index: int, features: Any, temb: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return features[chosen]  # type: ignore[no-any-return]

    with torch.no_grad():
        found = EnsembleUNet(unets(), pick)(sample, timestep, text).sample
        expected = tiny_unet(chosen)(sample, timestep, text.chunk(3, dim=-1)[chosen].contiguous()).sample
    assert torch.equal(found, expected)


def test_the_aggregator_s_time_and_text_are_means() -> None:
    sample, timestep, text = inputs()
    seen = []

    def note(index: int, features: Any, temb: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        seen.append((index, len(features), temb, states))
        return features[0]  # type: ignore[no-any-return]

    models = unets()
    with torch.no_grad():
        EnsembleUNet(models, note)(sample, timestep, text)
        embeddings = [unet.time_embedding(unet.get_time_embed(sample=sample, timestep=timestep)) for unet in models]
    assert [index for index, *_ in seen] == list(range(25))
    for _, count, temb, states in seen:
        assert count == 3
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
        EnsembleUNet([tiny_unet(0), tiny_unet(0, attention_head_dim=4)], mean)
    EnsembleUNet([tiny_unet(0), tiny_unet(0, sample_size=96)], mean)


def test_text_of_another_width_is_refused() -> None:
    sample, timestep, text = inputs(2)
    with pytest.raises(UserError, match="last axis: 32; expected 3 models' states of 16 side by side, or one for all"):
        EnsembleUNet(unets(), mean)(sample, timestep, text)


# --- training


def scheduler() -> DDPMScheduler:
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def pairs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents whose lowest level is 2x2 (attention over one pixel has no gradient), text states, the empty prompt's."""
    random = torch.Generator().manual_seed(9)
    return (
        torch.randn(8, 4, 16, 16, generator=random),
        torch.randn(8, 6, 32, generator=random),
        torch.randn(1, 6, 32, generator=random),
    )


def train(steps: int = 6, stop: int | None = None, **settings: Any) -> EnsembleUNet:
    """An ensemble of two after some steps; ``stop`` kills the training after that many."""

    def kill(done: int, loss: float) -> None:
        if done == stop:
            raise KeyboardInterrupt

    latents, text, empty = pairs()
    ensemble = EnsembleUNet(unets(2), tiny_sabw(2))
    options = {key: settings.pop(key) for key in ("checkpoint", "checkpoint_every") if key in settings}
    training = Training(steps=steps, **{"lr": 2e-3, **settings})
    train_sabw(ensemble, scheduler(), shuffled(latents, text, 2), empty, training, progress=kill, **options)
    return ensemble


def weights(ensemble: EnsembleUNet) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in ensemble.state_dict().items()}


def test_only_the_zero_convolutions_learn_at_first_then_all() -> None:
    latents, text, empty = pairs()
    ensemble = EnsembleUNet(unets(2), tiny_sabw(2)).requires_grad_(False)
    sabw = ensemble.aggregate.requires_grad_(True)
    optimizer = torch.optim.AdamW(sabw.parameters(), lr=1e-2)

    def moved() -> set[str]:
        optimizer.zero_grad()
        denoising_loss(ensemble, scheduler(), latents[:2], text[:2], empty, 0.0, generator(0, 0)).backward()
        return {name for name, value in sabw.named_parameters() if value.grad is not None and value.grad.abs().max() > 0}

    zero = {f"blocks.{index}.conv_out.weight" for index in range(25)}
    assert moved() == zero
    optimizer.step()
    assert moved() == {name for name, _ in sabw.named_parameters()}
    assert all(parameter.grad is None for unet in ensemble.unets for parameter in unet.parameters())


def test_experts_never_change() -> None:
    before, after = weights(EnsembleUNet(unets(2), tiny_sabw(2))), weights(train())
    for key, value in before.items():
        assert torch.equal(value, after[key]) == key.startswith("unets."), key


def test_training_lowers_the_loss() -> None:
    def loss(ensemble: EnsembleUNet) -> float:
        latents, text, empty = pairs()
        with torch.no_grad():
            return denoising_loss(ensemble, scheduler(), latents, text, empty, 0.0, generator(5, 5)).item()

    assert loss(train(steps=12)) < loss(EnsembleUNet(unets(2), tiny_sabw(2)))


def test_a_training_is_its_seed() -> None:
    one, again, other = weights(train(3)), weights(train(3)), weights(train(3, seed=1))
    assert all(torch.equal(value, again[key]) for key, value in one.items())
    assert not all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_resumed_training_has_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"warmup": 2, "cooldown": 3}
    whole = weights(train(**settings))
    file = tmp_path / "new" / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train(stop=5, checkpoint=file, checkpoint_every=2, **settings)
    assert torch.load(file, weights_only=True)["done"] == 4
    resumed = weights(train(checkpoint=file, checkpoint_every=2, **settings))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    finished = weights(train(checkpoint=file, stop=1, **settings))
    assert all(torch.equal(value, finished[key]) for key, value in whole.items())
    assert [path.name for path in file.parent.iterdir()] == ["state.pt"]


def test_another_training_s_checkpoint_is_refused(tmp_path: Path) -> None:
    train(1, checkpoint=tmp_path / "state.pt")
    with pytest.raises(UserError, match=r"state\.pt: lr: this checkpoint has 0\.002, the training 0\.1"):
        train(1, checkpoint=tmp_path / "state.pt", lr=0.1)


def test_the_rate_of_a_step() -> None:
    assert {Training().lr_at(step) for step in (0, 5000, 12_499)} == {1e-4}
    ramp = Training(steps=10, lr=1.0, warmup=4, cooldown=2)
    assert [ramp.lr_at(step) for step in (0, 3, 7, 8, 9)] == [0.25, 1.0, 1.0, 1.0, 0.5]


def test_text_is_dropped_for_each_sample() -> None:
    latents, text, empty = torch.zeros(400, 4, 2, 2), torch.ones(400, 1, 1), torch.zeros(1, 1, 1)
    given: list[torch.Tensor] = []

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        given.extend((noisy, timesteps, states))
        return (torch.zeros_like(noisy),)

    loss: Any = denoising_loss(predict, scheduler(), latents, text, empty, 0.25, generator(0, 0))  # type: ignore[arg-type]
    noisy, timesteps, states = given
    assert 0.15 < 1 - states.mean() < 0.35
    assert timesteps.min() < 50
    assert timesteps.max() > 950
    noise = noisy / (1 - scheduler().alphas_cumprod[timesteps]).sqrt()[:, None, None, None]
    torch.testing.assert_close(loss, noise.square().mean(), rtol=1e-4, atol=0)


def test_batches_go_through_all_pairs_each_epoch_in_another_order() -> None:
    latents = torch.arange(8.0)[:, None, None, None]
    batches = shuffled(latents, latents[..., 0] + 100, 2, seed=3)
    epochs = [[row for step in range(first, first + 4) for row in batches(step)[0].flatten().tolist()] for first in (0, 4)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(8))] * 2
    assert epochs[0] != epochs[1]
    assert batches(1)[0].flatten().tolist() == epochs[0][2:4], "a step's batch depends on its number alone"
    assert torch.equal(batches(6)[1].flatten(), batches(6)[0].flatten() + 100)
    with pytest.raises(UserError, match="batch size: 9; expected at most the number of pairs, 8"):
        shuffled(latents, latents, 9)


def test_what_cannot_be_trained_is_refused() -> None:
    latents, text, empty = pairs()
    with pytest.raises(UserError, match="aggregate: function; expected a SABW"):
        train_sabw(EnsembleUNet(unets(2), mean), scheduler(), shuffled(latents, text, 2), empty)
    wrong = DDPMScheduler(prediction_type="v_prediction")
    with pytest.raises(UserError, match="prediction_type: v_prediction"):
        train_sabw(EnsembleUNet(unets(2), tiny_sabw(2)), wrong, shuffled(latents, text, 2), empty)


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
    assert isinstance(denoiser.unet.aggregate, SABW)


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
        with unet.aggregate.record() as maps:
            found = unet(sample, timestep, text).sample
        (weights,) = maps[24]
        torch.testing.assert_close(found, sum(weights[:, n, None] * noises[n] for n in range(3)))
        assert weights.std() > 1e-3
        fresh = LastBlockUNet(unets(), tiny_sabw(last_only=True))(sample, timestep, text).sample
    torch.testing.assert_close(fresh, torch.stack(noises).mean(0), rtol=1e-5, atol=1e-6)


def test_one_text_for_all() -> None:
    sample, timestep, text = inputs(1)
    together = EnsembleUNet(unets(), randomised(tiny_sabw()))
    with torch.no_grad():
        assert torch.equal(together(sample, timestep, text).sample, together(sample, timestep, text.repeat(1, 1, 3)).sample)


def test_options_as_they_always_were_leave_no_trace_in_results() -> None:
    assert AFAOptions().model_dump(mode="json", exclude={"sabw"}) == {}
    assert AFAOptions(without="text").model_dump(mode="json", exclude={"sabw"}) == {"without": ["text"]}
    assert AFAOptions(last_only=True).model_dump(mode="json", exclude={"sabw"}) == {"last_only": True}
