"""The denoising loss of SDXL and FLUX, against what the stock pipeline's own parts give; the sampler is nothing to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
import yaml
from diffusers import FluxPipeline, StableDiffusionXLPipeline
from PIL import Image
from runs import rows, run

from afa_bench.identity import seed_of
from afa_bench.plan import make_plan
from afa_bench.suite import read_suite

SIZE, STEPS = 32, (125, 375, 625, 875)
SAMPLER = {
    "sdxl": {"guidance": 3.0, "scheduler": "EulerDiscreteScheduler"},
    "flux": {"guidance": 2.5, "scheduler": "FlowMatchEulerDiscreteScheduler"},
}


def suite(folder: Path, name: str, models: list[str]) -> Path:
    """A suite of one image of 40 x 36 pixels, on a group of these models."""
    (folder / "group.yaml").write_text(yaml.safe_dump({"pipeline": models[0], "models": {model: model for model in models}}))
    (folder / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 36, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "pictures" / "0.png")
    (folder / "pictures" / "0.txt").write_text("a red dog")
    settings = {
        "name": "real", "groups": ["group.yaml"], "prompts": {"name": "folder", "path": "pictures"}, "sampler": SAMPLER[name],
        "methods": ["base"], "metrics": [{"name": "denoising-loss", "timesteps": len(STEPS)}], "size": SIZE, "steps": [1],
        "images_per_prompt": 1,
    }  # fmt: skip
    (folder / "suite.yaml").write_text(yaml.safe_dump(settings))
    return folder / "suite.yaml"


def sdxl(pipeline: Any, latents: torch.Tensor, noise: torch.Tensor, step: int) -> torch.Tensor:
    states, _, pooled, _ = pipeline.encode_prompt("a red dog", do_classifier_free_guidance=False)
    noisy = pipeline.scheduler.add_noise(latents, noise, torch.tensor([step]))
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[40.0, 36, 2, 0, SIZE, SIZE]])}
    return pipeline.unet(noisy, step, states, added_cond_kwargs=added).sample - noise


def flux(pipeline: Any, latents: torch.Tensor, noise: torch.Tensor, step: int) -> torch.Tensor:
    states, pooled, places = pipeline.encode_prompt("a red dog", None, max_sequence_length=20)
    sigma = torch.tensor([(step + 1) / 1000])
    noisy = pipeline._pack_latents((1 - sigma) * latents + sigma * noise, 1, *latents.shape[1:])
    ids = pipeline._prepare_latent_image_ids(1, latents.shape[2] // 2, latents.shape[3] // 2, "cpu", torch.float32)
    tokens = pipeline.transformer(
        noisy, states, pooled, timestep=sigma, guidance=torch.tensor([3.5]), txt_ids=places, img_ids=ids
    ).sample
    return pipeline._unpack_latents(tokens, SIZE, SIZE, pipeline.vae_scale_factor) - (noise - latents)


@pytest.mark.parametrize(("name", "kind", "error"), [("sdxl", StableDiffusionXLPipeline, sdxl), ("flux", FluxPipeline, flux)])
@torch.no_grad()
def test_it_is_what_the_stock_parts_give(name: str, kind: Any, error: Any, tmp_path: Path) -> None:
    more = {"big_layers": 2, "layers": (1, 1, 1)} if name == "sdxl" else {}
    getattr(tiny_models, name)(tmp_path / "one", 1, **more)
    file = suite(tmp_path, name, ["one"])
    outcome = run(file, tmp_path / "out")
    assert (outcome.generated, outcome.failed) == (1, 0)
    (row,) = rows(tmp_path / "out")
    (sample,) = make_plan(read_suite(file)).samples

    pipeline = kind.from_pretrained(str(tmp_path / "one"), local_files_only=True)
    whole = Image.open(tmp_path / "pictures" / "0.png").resize((SIZE, 36), Image.Resampling.BICUBIC)
    picture = whole.crop((0, 2, SIZE, SIZE + 2))
    pixels = torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    means = pipeline.vae.encode(pixels).latent_dist.mode()
    latents = (means - (pipeline.vae.config.shift_factor or 0)) * pipeline.vae.config.scaling_factor
    losses = []
    for step in STEPS:
        noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed_of(sample.seed, "denoise", step)))
        losses.append(error(pipeline, latents, noise[None], step).square().mean().item())
        assert row[f"denoising_loss_t{step:03d}"] == pytest.approx(losses[-1], rel=1e-4)
    assert row["denoising_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
