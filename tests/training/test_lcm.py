"""Latent consistency distillation: its consistency function and its solver, what learns, its resume, and images in two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
import yaml
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler
from PIL import Image
from runs import run
from tiny import tiny_unet
from trainings import Silent, aggregator, learner, pairs, scheduler, train, weights

from afa_bench.afa.sabw import SABW
from afa_bench.architectures.flux_flow import FluxFlow
from afa_bench.architectures.objective import Diffusion
from afa_bench.errors import UserError
from afa_bench.store.atomic import read_json
from afa_bench.training.config import read_config
from afa_bench.training.lcm import Distillation
from afa_bench.training.log import read_log
from afa_bench.training.loss import Draw
from afa_bench.training.pairs import generator
from afa_bench.training.run import train as train_file
from afa_bench.training.settings import LCM
from afa_bench.training.trainable import Learner

KINDS = ("epsilon", "v_prediction")


def distilled(learning: Learner, kind: str = "epsilon", **settings: Any) -> Distillation:
    return Distillation(learning.denoiser.unet, learning, Diffusion(scheduler(prediction_type=kind)), LCM(**settings))


def loss_of(distillation: Distillation, timesteps: tuple[int, int] = (900, 300)) -> torch.Tensor:
    some = pairs()
    latents, told = some.batch([0, 1], 0)
    noise = torch.randn(latents.shape, generator=generator(5))
    return distillation(latents, told, some.empty, Draw(torch.tensor(timesteps), noise, torch.tensor([False, False])))


@pytest.mark.parametrize("kind", KINDS)
def test_the_consistency_function_is_the_sampler_s_and_the_identity_at_zero(kind: str) -> None:
    learning = learner()
    distillation = distilled(learning, kind)
    noisy, told = pairs().batch([0, 1], 0)
    with torch.no_grad():
        at_zero = distillation.consistent(learning.denoiser.unet, noisy, torch.zeros(2).long(), told)
        assert torch.equal(at_zero, noisy), "c_skip is 1 and c_out is 0"
        found = distillation.consistent(learning.denoiser.unet, noisy, torch.full((2,), 759), told)
        predicted = learning.denoiser.unet(noisy, 759, told["prompt_embeds"]).sample
    sampler = LCMScheduler.from_config(scheduler(prediction_type=kind, clip_sample=False).config)
    sampler.set_timesteps(50)
    torch.testing.assert_close(found, sampler.step(predicted, torch.tensor(759), noisy).denoised, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_solver_s_step_is_ddim_s_with_guidance(kind: str) -> None:
    learning = learner()
    distillation = distilled(learning, kind, guidance=3.0)
    some = pairs()
    noisy, told = some.batch([0, 1], 0)
    with torch.no_grad():
        found = distillation.solved(
            learning.denoiser.unet, noisy, torch.tensor([759, 19]), torch.tensor([739, 0]), told, some.empty
        )
        empty = some.empty["prompt_embeds"].expand_as(told["prompt_embeds"])
        for row, step in enumerate((759, 19)):
            silent, said = (learning.denoiser.unet(noisy, step, text).sample for text in (empty, told["prompt_embeds"]))
            config = scheduler(prediction_type=kind, clip_sample=False).config
            sampler = DDIMScheduler.from_config(config, timestep_spacing="trailing", set_alpha_to_one=False)
            sampler.set_timesteps(50)
            expected = sampler.step(silent + 3.0 * (said - silent), step, noisy).prev_sample
            torch.testing.assert_close(found[row], expected[row], rtol=1e-4, atol=1e-4)


def test_only_the_student_gets_a_gradient_and_the_models_are_shared() -> None:
    learning = aggregator()
    torch.nn.init.normal_(learning.learned.blocks[0].conv_out.weight)
    unet = learning.denoiser.unet.requires_grad_(False)
    learning.learned.requires_grad_(True)
    before = weights(learning)
    distillation = distilled(learning)
    loss_of(distillation).backward()
    moved = {name for name, value in unet.named_parameters() if value.grad is not None and value.grad.abs().max() > 0}
    assert {name for name in moved if name.endswith("conv_out.weight")} == {
        f"aggregator.blocks.{index}.conv_out.weight" for index in range(25)
    }
    assert all(name.startswith("aggregator.") for name in moved)
    copies = [value for part in distillation.parts.values() for value in part.parameters()]
    assert all(value.grad is None and not value.requires_grad for value in copies)
    assert len(copies) == 2 * len(list(learning.learned.parameters())), "no copy of a model"
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_teacher_and_target_have_weights_of_their_own() -> None:
    """What moves the student alone leaves the solver's step as it was; the target follows."""
    learning = learner()
    distillation = distilled(learning, ema=0.75)
    some = pairs()
    noisy, told = some.batch([0, 1], 0)
    times = torch.tensor([759, 500])

    def seen() -> list[torch.Tensor]:
        with torch.no_grad(), distillation.having(distillation.teacher) as teacher:
            step = distillation.solved(teacher, noisy, times, times - 20, told, some.empty)
        with torch.no_grad(), distillation.having(distillation.target) as target:
            aim = distillation.consistent(target, noisy, times, told)
        with torch.no_grad():
            return [step, aim, distillation.consistent(distillation.denoise, noisy, times, told)]

    first = seen()
    with torch.no_grad():
        for value in learning.learned.parameters():
            value.mul_(1.1)
    moved = seen()
    assert [torch.equal(one, two) for one, two in zip(first, moved, strict=True)] == [True, True, False]
    distillation.follow()
    followed = seen()
    assert torch.equal(followed[0], first[0])
    assert not torch.equal(followed[1], first[1])
    new, start = learning.learned.conv_in.weight, distillation.teacher.conv_in.weight
    torch.testing.assert_close(distillation.target.conv_in.weight, start.lerp(new, 0.25))


def test_the_loss_is_pseudo_huber_and_falls() -> None:
    learning = learner()
    distillation = distilled(learning, ema=0.0)
    assert loss_of(distillation, (0, 0)).item() == 0, "at timestep 0 there is nothing to learn"
    for parameter in learning.denoiser.unet.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learning.denoiser.unet.parameters(), lr=1e-4)
    losses = []
    for _ in range(20):
        loss = loss_of(distillation)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.9 * losses[0], losses
    small, large = (loss_of(distilled(learner(), huber_c=c)).item() for c in (1e-3, 1e3))
    assert large < 0.01 * small, "quadratic below huber_c"


def test_a_resumed_distillation_has_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "lcm": {"ema": 0.8},
        "checkpoint_every": 2,
        "validation": pairs(1),
        "validate_every": 4,
        "ema": 0.9,
    }
    whole = weights(train(6, folder=tmp_path / "whole", **settings))
    for stop in (3, 5):
        with pytest.raises(RuntimeError, match="killed"):
            train(6, stop=stop, folder=tmp_path / "killed", **settings)
    resumed = weights(train(6, folder=tmp_path / "killed", **settings))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    one, two = (
        [{key: value for key, value in line.items() if key != "seconds"} for line in read_log(tmp_path / name / "log.jsonl")]
        for name in ("whole", "killed")
    )
    assert one == two
    assert [line["step"] for line in one if "validation_loss" in line] == [0, 4, 6]
    with pytest.raises(UserError, match=r"checkpoint\.pt: lcm: this checkpoint has .*'ema': 0\.8"):
        train(6, folder=tmp_path / "killed", **{**settings, "lcm": {"ema": 0.7}})


@pytest.mark.slow
def test_from_an_aggregator_to_images_in_two_steps(tiny_group: Path, tiny_suite: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"pictures/{index}.png")
        (tmp_path / f"pictures/{index}.txt").write_text(f"picture {index}")
    document = {
        "group": str(tiny_group), "data": {"name": "folder", "path": str(tmp_path / "pictures")}, "size": 16, "validation": 0,
        "steps": 1, "batch": 2, "lr": 0.01, "lcm": {"guidance": 3.0},
    }  # fmt: skip
    config = tmp_path / "my.yaml"

    def trained(**changes: Any) -> Path:
        config.write_text(yaml.safe_dump({**document, **changes}))
        return train_file(read_config(config), tmp_path / "student", Silent()).weights

    with pytest.raises(UserError, match=r"my\.yaml: trainable: start: expected a folder of trained weights to distil"):
        trained()
    with pytest.raises(UserError, match=r"my\.yaml:\d+: lcm\.skiping: unknown key"):
        trained(lcm={"skiping": 1})
    teacher = SABW.for_model(tiny_unet(1), 3, hidden=8)
    teacher.save_pretrained(tmp_path / "teacher")
    student = trained(trainable={"name": "afa", "start": str(tmp_path / "teacher")})
    before, after = teacher.state_dict(), SABW.read(student).state_dict()
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    suite = yaml.safe_load(tiny_suite.read_text())
    suite["methods"] = [{"name": "afa", "label": "distilled", "sabw": str(student)}]
    suite["sampler"] = {"scheduler": "LCMScheduler", "guidance": 1}
    suite |= {"prompts": {**suite["prompts"], "limit": 2}, "images_per_prompt": 1}
    tiny_suite.write_text(yaml.safe_dump(suite))
    outcome = run(tiny_suite, tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (2, 0)
    (cell,) = (tmp_path / "out").rglob("cell.json")
    assert "distilled" in str(read_json(cell))


def test_flux_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lcm: expected models that predict noise"):
        Distillation(torch.nn.Identity(), learner(), FluxFlow(FlowMatchEulerDiscreteScheduler()), LCM())
    tiny_models.flux(tmp_path / "one", 1)
    (tmp_path / "group.yaml").write_text("architecture: flux\npipeline: one\nmodels: {one: one, two: one}\n")
    (tmp_path / "my.yaml").write_text("group: group.yaml\ndata: mini\ntrainable: {name: afa, start: one}\nlcm: {}\n")
    with pytest.raises(UserError, match=r"my\.yaml: lcm: group group: expected models that predict noise, not FLUX"):
        train_file(read_config(tmp_path / "my.yaml"), tmp_path / "out", Silent())
