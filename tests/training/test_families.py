"""Training for SDXL and FLUX: what is predicted, what the denoiser is told, and from images to weights, resumed to the bit."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
import yaml
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from PIL import Image

from afa_bench.afa.sabw import SABW
from afa_bench.afa.wins import denoising_wins
from afa_bench.architectures.flux_flow import FluxFlow, packed
from afa_bench.architectures.objective import Diffusion
from afa_bench.errors import UserError
from afa_bench.identity import seed_of
from afa_bench.models.group import read_group
from afa_bench.models.load import LoadedGroup, load_group
from afa_bench.prompts.base import Prompt
from afa_bench.training.cache import Encoding, cache_pairs, cropped
from afa_bench.training.config import read_config
from afa_bench.training.log import read_log
from afa_bench.training.loss import Draw, denoising_loss
from afa_bench.training.run import train

FAMILIES = ("sdxl", "flux")
PARTS = {
    "sdxl": ("unet", "text_encoder", "text_encoder_2"),
    "flux": ("transformer", "text_encoder", "text_encoder_2"),
}


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A group of two models for each family: the pipeline's own, and one with a denoiser and text encoders of its own."""
    folder = tmp_path_factory.mktemp("families")
    files = {}
    for family in FAMILIES:
        more = {"big_layers": 2, "layers": (1, 1, 1)} if family == "sdxl" else {}
        for seed, name in enumerate(("one", "two")):
            getattr(tiny_models, family)(folder / family / name, seed, **more)
        files[family] = folder / family / "group.yaml"
        files[family].write_text("pipeline: one\nmodels: {one: one, two: two}\n")
    return files


@pytest.fixture(scope="module")
def loaded(groups: dict[str, Path]) -> dict[str, LoadedGroup]:
    return {name: load_group(read_group(str(file), Path(), "test"), "cpu", torch.float32) for name, file in groups.items()}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    """Six images of 40 x 36 pixels, with captions."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    found = []
    for index in range(6):
        Image.fromarray(random.integers(0, 255, (36, 40, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"picture {index}")
        found.append(Prompt(str(index), f"picture {index}", image=(folder / f"{index}.png").read_bytes()))
    return found


class Calls:
    """No progress; kills the training after so many steps."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop

    def encoded(self, count: int, total: int) -> None: ...

    def trained(self, done: int, total: int, values: Mapping[str, float]) -> None:
        if done == self.stop:
            raise RuntimeError("killed")


@pytest.mark.parametrize("family", [pytest.param("sdxl", marks=pytest.mark.slow), "flux"])
def test_from_images_to_weights(family: str, groups: dict[str, Path], prompts: list[Prompt], tmp_path: Path) -> None:
    for prompt in prompts:
        (tmp_path / f"{prompt.id}.png").write_bytes(prompt.image)  # type: ignore[arg-type]
        (tmp_path / f"{prompt.id}.txt").write_text(prompt.text)
    settings = {
        "group": str(groups[family]), "data": {"name": "folder", "path": str(tmp_path)},
        "trainable": {"name": "afa", "hidden": 8},
        "size": 32, "crops": 2, "steps": 2, "batch": 2, "validation": 2, "text_dropout": 0.5, "lr": 0.002, "log_every": 1,
        "checkpoint_every": 1,
    }  # fmt: skip

    def run(name: str, stop: int | None = None, **changes: Any) -> tuple[SABW, list[float]]:
        (tmp_path / "my.yaml").write_text(yaml.safe_dump({**settings, **changes}))
        folder = tmp_path / name
        train(read_config(tmp_path / "my.yaml"), folder, Calls(stop), tmp_path / "cache")
        return SABW.read(folder / "weights"), [line["loss"] for line in read_log(folder / "log.jsonl") if "loss" in line]

    whole, losses = run("whole")
    with pytest.raises(RuntimeError, match="killed"):
        run("killed", stop=1)
    resumed, again = run("killed")
    assert again == losses
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())
    assert min(block.conv_out.weight.abs().max() for block in whole.blocks) > 0, "all blocks have learned"
    assert [entry["name"] for entry in whole.config.experts] == ["one", "two"]
    assert all(len(entry["sha256"]) == 64 for entry in whole.config.experts)
    facts = json.loads((tmp_path / "whole" / "training.json").read_text())
    assert facts["models"]["two"].keys() == set(PARTS[family])
    validated = [line["validation_loss"] for line in read_log(tmp_path / "whole" / "log.jsonl") if "validation_loss" in line]
    assert len(validated) == 2
    assert validated[0] != validated[1]
    _, saving = run("saving", gradient_checkpointing=True, steps=1)
    assert saving == pytest.approx(losses[:1], rel=1e-4)
    if family == "sdxl":
        trained = {"name": "afa", "start": str(tmp_path / "whole" / "weights")}
        student, (loss,) = run("student", trainable=trained, lcm={"guidance": 3.0}, steps=1)
        assert np.isfinite(loss)
        assert any(not torch.equal(value, student.state_dict()[key]) for key, value in whole.state_dict().items())
    if family == "flux":
        with pytest.raises(UserError, match=r"guidance: this checkpoint has 3\.5, the training 1\.0"):
            run("whole", guidance=1.0)
        with pytest.raises(UserError, match="size: 24; expected a multiple of 16 pixels for FLUX"):
            run("other", size=24)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_called_as_its_stock_pipeline_calls_it(family: str, loaded: dict[str, LoadedGroup]) -> None:
    group = loaded[family]
    model = group.models[1]
    pipeline = group.pipeline(model.unet, [model.text_encoder], group.group.family.scheduler)
    seen: list[dict[str, Any]] = []
    hook = model.unet.register_forward_pre_hook(lambda _, args, named: seen.append({**_named(args), **named}), with_kwargs=True)
    told: dict[str, Any] = group.group.family.conditions(["a red dog"], group.tokenizers, [model.text_encoder])
    size: dict[str, Any] = {"height": 64, "width": 32}
    sdxl = {"original_size": (40, 60), "crops_coords_top_left": (3, 5), "target_size": (64, 32)} if family == "sdxl" else {}
    guidance = 1.0 if family == "sdxl" else 2.5
    pipeline(**told, **size, **sdxl, num_inference_steps=1, guidance_scale=guidance, output_type="latent")
    if family == "sdxl":
        told["time_ids"] = torch.tensor([[40.0, 60, 3, 5, 64, 32]])
    objective = group.group.family.objective(group.scheduler, model.unet, guidance)
    latents = torch.randn(1, group.vae.config.latent_channels, 8, 4)
    with torch.no_grad():
        predicted = objective.predict(model.unet, latents, torch.tensor([999]), told)
    hook.remove()
    stock, ours = seen
    assert predicted.shape == latents.shape
    for name, value in ours.items():
        if name not in ("hidden_states", "sample", "timestep"):
            _same(value, stock[name], name)
        elif name != "timestep":
            assert value.shape == stock[name].shape, name
    assert (ours["timestep"] > 0).all()
    if family == "flux":
        torch.testing.assert_close(ours["timestep"], stock["timestep"])
        assert torch.equal(ours["hidden_states"], FluxPipeline._pack_latents(latents, 1, 16, 8, 4))
        tokens = FluxPipeline._unpack_latents(ours["hidden_states"], 64, 32, 8)
        assert torch.equal(tokens, latents)


def _named(args: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("sample", "timestep", "encoder_hidden_states"), args, strict=False))


def _same(ours: Any, stock: Any, name: str) -> None:
    if isinstance(ours, Mapping):
        assert ours.keys() == stock.keys(), name
        for key, value in ours.items():
            _same(value, stock[key], f"{name}.{key}")
    elif isinstance(ours, torch.Tensor):
        torch.testing.assert_close(ours, stock, msg=name)
    else:
        assert ours == stock, name


def test_a_flow_mixes_latents_and_noise_and_asks_for_the_direction() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(4, mu=0.5)
    objective = FluxFlow(scheduler, 3.5)
    assert objective.timesteps == 1000
    latents, noise, times = torch.randn(2, 16, 4, 6), torch.randn(2, 16, 4, 6), torch.tensor([249, 999])
    noisy, target = objective.noisy(latents, noise, times), objective.target(latents, noise, times)
    torch.testing.assert_close(noisy[0], 0.75 * latents[0] + 0.25 * noise[0])
    torch.testing.assert_close(noisy[1], noise[1])
    torch.testing.assert_close(noisy[0] - 0.25 * target[0], latents[0])
    shifted = FluxFlow(FlowMatchEulerDiscreteScheduler(shift=3.0))
    torch.testing.assert_close(shifted.sigmas[[0, 499, 999]], torch.tensor([0.003 / 1.002, 0.75, 1.0]))

    def knows(hidden_states: torch.Tensor, timestep: torch.Tensor, guidance: torch.Tensor, **named: Any) -> Any:
        assert torch.equal(hidden_states, packed(noisy))
        torch.testing.assert_close(timestep, torch.tensor([0.25, 1.0]))
        assert guidance.tolist() == [3.5, 3.5]
        torch.testing.assert_close(named["pooled_projections"], torch.tensor([[1.0], [0.0]]))
        return (packed(target) + 0.5,)

    told = {"prompt_embeds": torch.ones(2, 3, 1), "pooled_prompt_embeds": torch.ones(2, 1)}
    empty = {name: torch.zeros_like(value[:1]) for name, value in told.items()}
    loss = denoising_loss(knows, objective, latents, told, empty, Draw(times, noise, torch.tensor([False, True])))
    assert loss.item() == pytest.approx(0.25)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_holds_what_the_encoders_say(
    family: str, loaded: dict[str, LoadedGroup], prompts: list[Prompt], tmp_path: Path
) -> None:
    group = loaded[family]
    encoders = [model.text_encoder for model in group.models]
    encoding = Encoding.of(group, encoders, 32, crops=2, seed=3)
    pairs = cache_pairs(prompts, encoding, tmp_path, lambda count: None)
    for epoch in (0, 1):
        latents, told = pairs.batch([4, 1], epoch)
        image = Image.open(io.BytesIO(prompts[1].image or b""))
        pixels, (top, left) = cropped(image, 32, seed_of(3, "1", "crop", epoch))
        with torch.no_grad():
            clean = group.vae.encode(torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1).latent_dist.mode()
        shift = group.vae.config.shift_factor or 0
        torch.testing.assert_close(latents[1:], (clean - shift) * group.vae.config.scaling_factor)
        said = group.group.family.conditions([prompts[4].text, prompts[1].text], group.tokenizers, encoders)
        if family == "sdxl":
            said["time_ids"] = told["time_ids"]
            assert told["time_ids"][1].tolist() == [36, 40, top, left, 32, 32]
        assert said.keys() == told.keys()
        for name, value in said.items():
            torch.testing.assert_close(told[name], value, rtol=1e-4, atol=1e-5)
    guided = group.group.family.conditions(["x"], group.tokenizers, encoders, guided=True)
    nothing = {name: guided.get(f"negative_{name}") for name in ("prompt_embeds", "pooled_prompt_embeds")}
    if family == "flux":
        nothing = dict(group.group.family.conditions([""], group.tokenizers, encoders))
    assert pairs.empty.keys() == nothing.keys()
    for name, value in pairs.empty.items():
        torch.testing.assert_close(value, nothing[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_wins(family: str, loaded: dict[str, LoadedGroup], prompts: list[Prompt]) -> None:
    wins = denoising_wins(loaded[family], prompts[:1], 32, timesteps=[500], noises=2)
    assert wins.winners.shape == (1, 1, 2, 4, 4)
    assert 0 < wins.shares()[0] < 1


def test_a_scheduler_says_what_is_predicted(loaded: dict[str, LoadedGroup]) -> None:
    kinds = [type(group.group.family.objective(group.scheduler, group.models[0].unet, 1.0)) for group in loaded.values()]
    assert kinds == [Diffusion, FluxFlow]
