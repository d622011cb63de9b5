"""The training loop: what learns and what does not, its order and noise, and its resume to the bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler
from torch.nn.functional import mse_loss
from trainings import aggregator, learner, pairs, scheduler, train, weights

from afa_bench.architectures.objective import Diffusion
from afa_bench.errors import UserError
from afa_bench.training.log import read_log
from afa_bench.training.loop import fit
from afa_bench.training.loss import Draw, denoising_loss
from afa_bench.training.pairs import Order, generator
from afa_bench.training.settings import Settings
from afa_bench.training.trainable import Learner


def loss_of(learning: Learner, noise: DDPMScheduler | None = None) -> torch.Tensor:
    some = pairs()
    latents, told = some.batch([0, 1], 0)
    drawn = Draw.of(latents.shape, 1000, 0.0, generator(5))
    return denoising_loss(learning.denoiser.unet, Diffusion(noise or scheduler()), latents, told, some.empty, drawn)


def test_only_the_zero_convolutions_learn_at_first_then_all() -> None:
    learning = aggregator()
    learning.denoiser.unet.requires_grad_(False)
    sabw = learning.learned.requires_grad_(True)
    optimizer = torch.optim.AdamW(sabw.parameters(), lr=1e-2)

    def moved() -> set[str]:
        optimizer.zero_grad()
        loss_of(learning).backward()
        return {name for name, value in sabw.named_parameters() if value.grad is not None and value.grad.abs().max() > 0}

    zero = {f"blocks.{index}.conv_out.weight" for index in range(25)}
    assert moved() == zero
    optimizer.step()
    assert moved() == {name for name, _ in sabw.named_parameters()}
    assert all(value.grad is None for name, value in learning.denoiser.unet.named_parameters() if name.startswith("models."))


def test_experts_never_change_and_all_of_the_aggregator_does() -> None:
    before, after = weights(aggregator()), weights(train(2, start=aggregator))
    for key, value in before.items():
        assert torch.equal(value, after[key]) == key.startswith("models."), key


def test_training_lowers_the_loss() -> None:
    losses: list[float] = []
    chosen = Settings(steps=12, batch=2, lr=2e-3, validate_every=12)
    fit(
        learner(),
        Diffusion(scheduler()),
        pairs(),
        chosen,
        validation=pairs(),
        report=lambda *now: losses.append(now[2]["validation_loss"]),
    )
    assert losses[-1] < losses[0]


def test_a_training_is_its_seed_and_leaves_the_caller_s_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    learning = learner()
    torch.manual_seed(5)
    fit(learning, Diffusion(scheduler()), pairs(), Settings(steps=2, batch=2, lr=2e-3))
    assert torch.equal(torch.rand(1), expected)
    again, other = weights(train(2)), weights(train(2, seed=1))
    assert all(torch.equal(value, again[key]) for key, value in weights(learning).items())
    assert not all(torch.equal(value, other[key]) for key, value in again.items())


def test_a_resumed_training_has_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "warmup": 2,
        "cooldown": 3,
        "ema": 0.9,
        "checkpoint_every": 2,
        "log_every": 3,
        "validate_every": 2,
    }
    settings["validation"] = pairs(1)
    whole = weights(train(6, folder=tmp_path / "whole", **settings))
    folder = tmp_path / "new" / "run"
    for stop in (3, 5):
        with pytest.raises(RuntimeError, match="killed"):
            train(6, stop=stop, folder=folder, **settings)
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["done"] == 4
    resumed = weights(train(6, folder=folder, **settings))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    finished = weights(train(6, folder=folder, stop=1, **settings))
    assert all(torch.equal(value, finished[key]) for key, value in whole.items())
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "log.jsonl"]
    logs = [
        [{key: value for key, value in line.items() if key != "seconds"} for line in read_log(place / "log.jsonl")]
        for place in (folder, tmp_path / "whole")
    ]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0] if "validation_loss" in line] == [0, 2, 4, 6]
    assert [line["step"] for line in logs[0] if "loss" in line] == [3, 6]


def test_a_checkpoint_holds_no_expert(tmp_path: Path) -> None:
    learning = train(1, folder=tmp_path, start=aggregator)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["parts"]["learned"].keys() == learning.learned.state_dict().keys()
    assert state["parts"].keys() == {"learned", "optimizer"}
    assert len(state["parts"]["optimizer"]["state"]) == len(list(learning.learned.parameters()))


def test_ctrl_c_ends_the_step_writes_a_checkpoint_and_stops(tmp_path: Path) -> None:
    def press(done: int, total: int, values: Mapping[str, float]) -> None:
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    chosen = Settings(steps=4, batch=2, lr=2e-3, log_every=1)
    with pytest.raises(KeyboardInterrupt):
        fit(learner(), Diffusion(scheduler()), pairs(), chosen, folder=tmp_path, report=press)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["done"] == 2
    resumed = learner()
    fit(resumed, Diffusion(scheduler()), pairs(), chosen, folder=tmp_path)
    whole = weights(train(4))
    assert all(torch.equal(value, whole[key]) for key, value in weights(resumed).items())


def test_another_training_s_checkpoint_is_refused(tmp_path: Path) -> None:
    train(1, folder=tmp_path, about={"group": "a"})
    with pytest.raises(UserError, match=r"checkpoint\.pt: lr: this checkpoint has 0\.002, the training 0\.1; train into another"):
        train(1, folder=tmp_path, lr=0.1, about={"group": "a"})
    with pytest.raises(UserError, match=r"checkpoint\.pt: group: this checkpoint has 'a', the training 'b'"):
        train(1, folder=tmp_path, about={"group": "b"})
    train(2, folder=tmp_path, about={"group": "a"}, log_every=2)
    (tmp_path / "checkpoint.pt").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"checkpoint\.pt: not a checkpoint of a training"):
        train(1, folder=tmp_path)


EVERY: dict[str, dict[str, Any]] = {
    "every step": {},
    "the log": {"log_every": 3},
    "a checkpoint": {"log_every": 50, "checkpoint_every": 3},
    "a validation": {"log_every": 50, "validate_every": 3, "validation": pairs(1)},
    "the end": {"log_every": 50, "ema": 0.9},
}


@pytest.mark.parametrize("seen", EVERY)
def test_a_training_that_diverges_stops_and_goes_on_with_a_lower_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seen: str
) -> None:
    """Whatever sees it first."""
    train(2, folder=tmp_path, **EVERY[seen])
    kept = (tmp_path / "checkpoint.pt").read_bytes()

    def spoilt() -> Learner:
        found = learner()
        return replace(found, auxiliary=lambda: found.learned.conv_in.weight.sum() * float("inf"))

    for _ in range(2):  # the second time as the first: the same rate diverges again
        with pytest.raises(UserError, match=r"train: step \d: .*: the training has diverged; expected a lower lr .* of step 2\)"):
            train(6, start=spoilt, folder=tmp_path, **EVERY[seen])
        assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    assert not [line for line in (tmp_path / "log.jsonl").read_text().splitlines() if "Infinity" in line or "NaN" in line]
    resumed = train(6, folder=tmp_path, **{**EVERY[seen], "lr": 1e-4})
    assert "goes on with lr 0.0001 in place of 0.002" in caplog.text
    assert all(value.isfinite().all() for value in weights(resumed).values())
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["done"] == 6


def test_a_training_that_diverges_before_anything_is_saved_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has diverged; expected a lower lr \(now 1e\+30\), .* \(nothing is saved\)"):
        train(6, folder=tmp_path, lr=1e30)
    assert not (tmp_path / "checkpoint.pt").exists()

    def broken() -> Learner:
        found = learner()
        found.learned.conv_in.weight.data.fill_(float("nan"))
        return found

    with pytest.raises(UserError, match="train: before the first step validation loss is nan"):
        train(1, start=broken, validation=pairs(1))


def test_a_checkpoint_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    train(1, folder=tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    next(iter(state["parts"]["learned"].values())).fill_(float("nan"))
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt: weights are not finite: train into another folder"):
        train(1, folder=tmp_path)


def test_another_precision_is_named(tmp_path: Path) -> None:
    """Whether the file says it or ``accelerate launch``."""
    train(1, folder=tmp_path)
    with pytest.raises(UserError, match="mixed_precision: bf16: AcceleratorState has already been initialized"):
        train(1, folder=tmp_path, mixed_precision="bf16")
    chosen, other = Settings(steps=1, batch=2, lr=2e-3), "mixed_precision: this checkpoint has None, the training 'bf16'"
    try:
        AcceleratorState._reset_state(True)
        with pytest.raises(UserError, match="mixed_precision: fp16 takes a GPU; expected bf16 or no"):
            train(1, folder=tmp_path, mixed_precision="fp16")
        AcceleratorState._reset_state(True)
        with pytest.raises(UserError, match=other):
            train(1, folder=tmp_path, mixed_precision="bf16")
        launched = Accelerator(mixed_precision="bf16")
        with pytest.raises(UserError, match=other):
            fit(learner(), Diffusion(scheduler()), pairs(), chosen, folder=tmp_path, accelerator=launched)
    finally:
        AcceleratorState._reset_state(True)


def test_averaged_weights_are_those_that_are_kept() -> None:
    learning, plain = train(3, ema=0.999), train(3)
    start, last, straight = (one.learned.conv_in.weight for one in (learner(), learning, plain))
    assert 0 < (last - start).abs().max() < (straight - start).abs().max(), "an average of the way lies behind"


def test_accumulation_changes_nothing() -> None:
    whole, parts = weights(train(3, batch=4)), weights(train(3, batch=4, accumulation=2))
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradient_checkpointing_changes_nothing() -> None:
    whole, saving = (weights(train(2, start=aggregator, gradient_checkpointing=wanted)) for wanted in (False, True))
    for key, value in whole.items():
        torch.testing.assert_close(saving[key], value, rtol=1e-4, atol=1e-5)


def test_checkpointed_blocks_keep_less() -> None:
    """What autograd keeps for the way back: everything, or each block's inputs."""

    def kept(checkpointing: bool) -> int:
        sizes: dict[int, int] = {}
        learning = aggregator()
        learning.denoiser.unet.requires_grad_(False)
        learning.learned.requires_grad_(True)
        if checkpointing:
            learning.denoiser.unet.enable_gradient_checkpointing()  # type: ignore[operator]

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss_of(learning)
        return sum(sizes.values())

    assert kept(True) < 0.1 * kept(False)


def test_velocity_and_noise() -> None:
    """A denoiser that knows the noise has no loss with either prediction type; another type is refused."""
    latents, noise = pairs().latents[:2], torch.randn(2, 4, 16, 16)
    drawn = Draw(torch.tensor([10, 900]), noise, torch.tensor([False, True]))
    for kind in ("epsilon", "v_prediction"):
        noise_schedule = scheduler(prediction_type=kind)
        target = noise if kind == "epsilon" else noise_schedule.get_velocity(latents, noise, drawn.timesteps)

        def knows(noisy: torch.Tensor, times: torch.Tensor, text: torch.Tensor, return_dict: bool, target: Any = target) -> Any:
            torch.testing.assert_close(text, torch.stack([torch.ones(1, 1), torch.zeros(1, 1)]))
            return (target + 0.5,)

        told, empty = ({"prompt_embeds": value} for value in (torch.ones(2, 1, 1), torch.zeros(1, 1, 1)))
        loss = denoising_loss(knows, Diffusion(noise_schedule), latents, told, empty, drawn)
        assert loss.item() == pytest.approx(0.25)
    with pytest.raises(UserError, match="prediction_type: sample; expected epsilon or v_prediction"):
        loss_of(learner(), scheduler(prediction_type="sample"))


def test_timesteps_are_uniform_and_text_is_dropped_for_each_sample() -> None:
    drawn = Draw.of(torch.Size([2000, 1, 1, 1]), 1000, 0.25, generator(0))
    assert 0.22 < drawn.dropped.float().mean() < 0.28
    assert drawn.timesteps.min() < 10
    assert drawn.timesteps.max() > 990
    shares = torch.histc(drawn.timesteps.float(), 4, 0, 1000) / 2000
    assert (shares - 0.25).abs().max() < 0.04
    part = drawn[10:20]
    torch.testing.assert_close(mse_loss(part.noise, drawn.noise[10:20]), torch.tensor(0.0))


def test_batches_go_through_all_pairs_each_epoch_in_another_order() -> None:
    order = Order(9, 2, seed=3)
    epochs = [[row for step in range(first, first + 4) for row in order.batch(step)[1]] for first in (0, 4)]
    assert all(len(set(rows)) == 8 for rows in epochs)
    assert epochs[0] != epochs[1]
    assert order.batch(1) == (0, epochs[0][2:4]), "a step's batch depends on its number alone"
    assert order.batch(6) == (1, epochs[1][4:6])
    with pytest.raises(UserError, match="batch: 10; expected at most the number of pairs, 9"):
        Order(9, 10, seed=0)


def test_the_paper_s_settings() -> None:
    settings = Settings()
    assert settings.steps_for(10_000) == 12_500
    assert {settings.lr_at(step, 12_500) for step in (0, 5000, 12_499)} == {1e-4}
    ramp = Settings(lr=1.0, warmup=4, cooldown=2)
    assert [ramp.lr_at(step, 10) for step in (0, 3, 7, 8, 9)] == [0.25, 1.0, 1.0, 1.0, 0.5]


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(UserError, match="batch: 2; expected a multiple of 1 processes x accumulation 3"):
        train(1, accumulation=3)


def test_what_a_learner_adds() -> None:
    """An auxiliary loss is trained and logged, randomness in the forward is the step's, annealing and facts are asked."""
    seen: list[Any] = []
    learning = learner()
    first = next(learning.learned.parameters())
    unet = learning.denoiser.unet
    unet.register_forward_hook(lambda *_: seen.append(torch.rand(1).item()))
    extra = Learner(
        learning.denoiser, learning.learned, lambda: first.square().sum(), lambda share: seen.append(share), lambda: {"use": 0.5}
    )
    values: dict[str, float] = {}
    before = first.square().sum().item()
    fit(
        extra,
        Diffusion(scheduler()),
        pairs(),
        Settings(steps=2, batch=2, log_every=1),
        report=lambda *given: values.update(given[2]),
    )
    assert seen[0] == 0
    assert seen[2] == 0.5
    assert seen[1] != seen[3]
    assert values["use"] == 0.5
    assert 0 < values["auxiliary"] < before
