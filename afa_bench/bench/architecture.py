"""Models of a true architecture with random weights: what speed, size and memory are measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench.errors import UserError
from afa_bench.method import Model
from afa_bench.models.group import packaged, read_group
from afa_bench.registry import suggest

if TYPE_CHECKING:
    import torch

SD15 = "sd15"


@dataclass(frozen=True)
class PipelineConfigs:
    """The configurations of a pipeline's parts, as diffusers and transformers read them.

    Attributes:
        name: in words.
        size: of its images, in pixels.
    """

    name: str
    size: int
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    scheduler: Mapping[str, Any]


@dataclass(frozen=True)
class Parts:
    """A pipeline's parts, in eval mode and without gradients; the models are copies of one."""

    models: list[Model]
    vae: Any
    scheduler: Any


def find_architecture(name: str) -> PipelineConfigs:
    """``sd15``, or that of a packaged group, or of a group's YAML file.

    Raises:
        UserError: neither.
    """
    if name == SD15:
        return PipelineConfigs("Stable Diffusion 1.5", 512, SD15_UNET, SD15_VAE, SD15_TEXT, SD15_SCHEDULER)
    if name not in packaged() and not Path(name).is_file():
        raise UserError(
            f"{name}: unknown architecture: {suggest(name, [SD15, *packaged()])} (or the path of a group's YAML file)"
        )
    folder = read_group(name, Path(), "architecture").pipeline
    unet, vae, text = (_config(folder / part / "config.json") for part in ("unet", "vae", "text_encoder"))
    size = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    return PipelineConfigs(name, size, unet, vae, text, _config(folder / "scheduler" / "scheduler_config.json"))


def build_parts(architecture: PipelineConfigs, count: int, device: str, dtype: torch.dtype) -> Parts:
    """So many models with random weights; the device may be ``meta``, where weights have shapes alone."""
    import diffusers
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    diffusers.utils.logging.set_verbosity_error()
    with torch.device(device):
        unet = UNet2DConditionModel.from_config(dict(architecture.unet))
        text = CLIPTextModel(CLIPTextConfig(**architecture.text))
        vae = AutoencoderKL.from_config(dict(architecture.vae))
    for module in (unet, text, vae):
        module.to(dtype).eval().requires_grad_(False)
    models = [Model(f"model {index + 1}", deepcopy(unet), deepcopy(text)) for index in range(count)]
    return Parts(models, vae, DDIMScheduler.from_config(dict(architecture.scheduler)))


def _config(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from error
    return content


# Stable Diffusion 1.5, from the configurations that are published with it; what is not here is the library's default.
SD15_UNET: Mapping[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
SD15_VAE: Mapping[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "sample_size": 512,
}
SD15_TEXT: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
}
SD15_SCHEDULER: Mapping[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
