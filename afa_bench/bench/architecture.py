"""Models of a true architecture with random weights: what speed, size and memory are measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench import registry
from afa_bench.architectures import find
from afa_bench.errors import UserError, suggest
from afa_bench.method import Model
from afa_bench.models.group import packaged, read_group

if TYPE_CHECKING:
    import torch


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
    """That of a registered architecture's packaged configurations, of a packaged group, or of a group's YAML file.

    Raises:
        UserError: neither, or one without a U-Net.
    """
    known = registry.available("architectures")
    if name in known:
        found = find.find_architecture(name, "")
        folder, name = found.configs, found.title
    elif name in packaged() or Path(name).is_file():
        folder = read_group(name, Path(), "architecture").pipeline
    else:
        choices = suggest(name, [*known, *packaged()])
        raise UserError(f"{name}: unknown architecture: {choices} (or the path of a group's YAML file)")
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
