"""Whose noise is whose: each sample's first noise and its sampler's are its own, drawn from generators of its seed on the CPU."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch
import yaml

from afa_bench.generation.generator import Generator
from afa_bench.identity import seed_of
from afa_bench.plan import make_plan
from afa_bench.suite import read_suite


@pytest.mark.parametrize("scheduler", ["EulerAncestralDiscreteScheduler", "LCMScheduler", "DDIMScheduler"])
def test_a_batch_is_the_stock_pipelines_images_one_by_one(tiny_suite: Path, tiny_group: Path, scheduler: str) -> None:
    keys = yaml.safe_load(tiny_suite.read_text())
    tiny_suite.write_text(
        yaml.safe_dump(keys | {"sampler": {"scheduler": scheduler, "guidance": 2.0}, "methods": ["base"], "steps": [3]})
    )
    plan = make_plan(read_suite(tiny_suite), only=["one"])
    (cell,), samples = plan.cells, plan.samples[:4]  # two images of each of two prompts
    images = Generator(plan, "cpu", batch_size=4).sample(cell, samples)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        tiny_group.parent / "base",
        unet=diffusers.UNet2DConditionModel.from_pretrained(tiny_group.parent / "one" / "unet"),
        safety_checker=None,
    )
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    for image, sample in zip(images, samples, strict=True):
        noise = torch.randn(pipeline.unet.config.in_channels, 4, 4, generator=torch.Generator().manual_seed(sample.seed))[None]
        stock = pipeline(
            sample.prompt.text,
            latents=noise,
            generator=torch.Generator().manual_seed(seed_of(sample.seed, "sampler")),
            num_inference_steps=3,
            guidance_scale=2.0,
            height=8,
            width=8,
            output_type="pt",
        ).images
        assert (image - stock[0]).abs().max() < 1e-4
    assert (images[0] - images[1]).abs().max() > 0.01
