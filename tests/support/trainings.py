"""Trainings of small models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from diffusers import DDPMScheduler, UNet2DConditionModel
from tiny import tiny_unet

from afa_bench.afa.trainable import SABWOptions, TrainAFA
from afa_bench.architectures.objective import Diffusion
from afa_bench.method import Denoiser, Model
from afa_bench.training.loop import fit
from afa_bench.training.pairs import TensorPairs
from afa_bench.training.settings import Settings
from afa_bench.training.trainable import Learner

COUNT = 10
"""Pairs on the disk."""


def written(path: Path, **document: Any) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def changed(path: Path, **changes: Any) -> Path:
    return written(path, **{**yaml.safe_load(path.read_text()), **changes})


class Silent:
    """No progress."""

    def encoded(self, count: int, total: int) -> None: ...

    def trained(self, done: int, total: int, values: Mapping[str, float]) -> None: ...


def scheduler(**settings: Any) -> DDPMScheduler:
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **settings)


def pairs(count: int = 8) -> TensorPairs:
    """Latents whose lowest level is 2x2 (attention over one pixel has no gradient), text states, the empty prompt's."""
    random = torch.Generator().manual_seed(9)
    latents, text, empty = (torch.randn(shape, generator=random) for shape in ((count, 4, 16, 16), (count, 6, 32), (1, 6, 32)))
    return TensorPairs(latents, {"prompt_embeds": text}, {"prompt_embeds": empty})


def learner() -> Learner:
    """A small U-Net that is trained as a whole: what the loop does shows on any model."""
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(8,), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
        cross_attention_dim=32, down_block_types=("CrossAttnDownBlock2D",), up_block_types=("UpBlock2D",), mid_block_type=None,
    )  # fmt: skip
    return Learner(Denoiser(unet, [torch.nn.Identity()]), unet)


def aggregator() -> Learner:
    """A fresh SABW on two models."""
    torch.manual_seed(1)
    models = [Model(f"model {seed}", tiny_unet(seed), torch.nn.Identity()) for seed in range(2)]
    return TrainAFA().build(SimpleNamespace(models=()), models, SABWOptions(hidden=16))  # type: ignore[arg-type]


def train(steps: int = 4, stop: int | None = None, start: Callable[[], Learner] = learner, **settings: Any) -> Learner:
    """A learner after some steps; ``stop`` kills the training after that many."""

    def kill(done: int, total: int, values: Mapping[str, float]) -> None:
        if done == stop:
            raise RuntimeError("killed")

    learning = start()
    options = {key: settings.pop(key) for key in ("folder", "validation", "about") if key in settings}
    chosen = Settings(**{"steps": steps, "batch": 2, "lr": 2e-3, "log_every": 1, **settings})
    fit(learning, Diffusion(settings.pop("scheduler", scheduler())), pairs(), chosen, report=kill, **options)
    return learning


def weights(learning: Learner) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in learning.denoiser.unet.state_dict().items()}
