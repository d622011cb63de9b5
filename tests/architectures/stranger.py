"""An architecture of somebody else's, in one file: a small U-Net on 2 x 2 latents at once, which is told an image's height.

It reads the mean of a text's states as one word, and its checkpoints have names of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ImagePipelineOutput, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from transformers import CLIPTextConfig, CLIPTextModel
from typing_extensions import override

from afa_bench.architectures.layout import BASE, TIME, Layout, Row
from afa_bench.architectures.ldm import vae_rows
from afa_bench.architectures.objective import Conditions, Denoise, Diffusion, Objective
from afa_bench.architectures.unet import UNetArchitecture
from afa_bench.merging.checkpoint import split

BLOCKS = {
    "conv_in": "IN",
    "time_embedding": TIME,
    "class_embedding": TIME,
    "down_blocks.0": "DOWN0",
    "down_blocks.1": "DOWN1",
    "mid_block": "MID",
    "up_blocks.0": "UP0",
    "up_blocks.1": "UP1",
    "conv_norm_out": "OUT",
    "conv_out": "OUT",
}
"""The modules of its U-Net, and the block of a block-weighted merge that each is in."""


class StrangerPipeline(DiffusionPipeline):
    """Its sampler."""

    def __init__(self, vae: Any, text_encoder: Any, tokenizer: Any, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        *,
        prompt_embeds: Tensor,
        latents: Tensor,
        height: int,
        width: int,
        negative_prompt_embeds: Tensor | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.0,
        generator: Any = None,
        output_type: str = "pt",
        callback_on_step_end: Callable[..., Any] | None = None,
    ) -> ImagePipelineOutput:
        self.scheduler.set_timesteps(num_inference_steps)
        for index, time in enumerate(self.scheduler.timesteps):
            noise = self._noise(latents, time, prompt_embeds, height)
            if negative_prompt_embeds is not None:
                free = self._noise(latents, time, negative_prompt_embeds, height)
                noise = free + guidance_scale * (noise - free)
            latents = self.scheduler.step(noise, time, latents).prev_sample
            if callback_on_step_end is not None:
                callback_on_step_end(self, index, time, {"latents": latents})
        decoded = self.vae.decode(pixel_shuffle(latents, 2) / self.vae.config.scaling_factor).sample
        return ImagePipelineOutput(images=(decoded / 2 + 0.5).clamp(0, 1))

    def _noise(self, latents: Tensor, time: Tensor, states: Tensor, height: int) -> Tensor:
        told = torch.full((len(latents),), float(height)).to(latents)
        return self.unet(latents, time, states, class_labels=told, return_dict=False)[0]


class Packed(Diffusion):
    """The noise of latents, which the U-Net is given 2 x 2 at once."""

    @override
    def predict(self, denoise: Denoise, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        height = conditions["height"][:, 0]
        packed = pixel_unshuffle(noisy, 2)
        return pixel_shuffle(
            denoise(packed, timesteps, conditions["prompt_embeds"], class_labels=height, return_dict=False)[0], 2
        )


class Stranger(UNetArchitecture):
    name = "stranger"
    title = "Stranger"
    pipeline = "StrangerPipeline"
    marks = ("class_embedding.", "stranger.")
    text_prefix = "words."
    layout = Layout(
        name="Stranger",
        blocks=("IN", "DOWN0", "DOWN1", "MID", "UP0", "UP1", "OUT"),
        rows=(
            *(Row(f"stranger.{name}", "unet", (name,), block) for name, block in BLOCKS.items()),
            Row("words.text_model", "text_encoder", ("text_model",), BASE),
            *vae_rows(levels=2, layers=1),
        ),
        texts={"text_encoder": "words."},
        deepest={},
    )

    @override
    def layout_in_memory(self, denoiser: Any) -> Layout | None:
        return self.layout

    @override
    def class_of(self, name: str) -> Any:
        return StrangerPipeline if name == self.pipeline else super().class_of(name)

    @override
    def encode(self, texts: Sequence[str], tokenizers: Sequence[Any], encoders: Sequence[nn.Module]) -> dict[str, Tensor]:
        found = super().encode(texts, tokenizers, encoders)
        return {name: states.mean(dim=1, keepdim=True) for name, states in found.items()}

    @override
    def size_conditions(self, image: tuple[int, int], corner: tuple[int, int], crop: tuple[int, int]) -> dict[str, list[float]]:
        return {"height": [float(crop[0])]}

    @override
    def multiple(self, vae: Any) -> int:
        return 2 * super().multiple(vae)

    @override
    def latent_shape(self, vae: Any, denoiser: Any, height: int, width: int) -> tuple[int, int, int]:
        rows, columns = (2 * side // self.multiple(vae) for side in (height, width))
        return denoiser.config.in_channels // 4, rows, columns

    @override
    def packed(self, latents: Tensor) -> Tensor:
        return pixel_unshuffle(latents, 2)

    @override
    def objective(self, scheduler: Any, denoiser: Any, guidance: float | None = None) -> Objective:
        return Packed(scheduler)

    @override
    def read_file(self, path: Path, configs: Path, dtype: torch.dtype, shared: Mapping[str, Any]) -> Mapping[str, Any]:
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(configs / "unet"))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(configs / "text_encoder"))
        return {part: self._filled(module, path, part).to(dtype) for part, module in (("unet", unet), ("text_encoder", text))}

    @override
    def read_vae(self, path: Path, configs: Path, dtype: torch.dtype) -> Any:
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(configs / "vae"))
        return self._filled(vae, path, "vae").to(dtype)

    def _filled(self, module: nn.Module, path: Path, part: str) -> nn.Module:
        """A module with a file's weights, by the layout's names."""
        links = ((self.layout.of_ldm(key), tensor) for key, tensor in load_file(path).items())
        own = {link.diffusers[0]: split(link.change, tensor)[0] for link, tensor in links if link and link.part == part}
        module.load_state_dict({key.removeprefix("text_model."): tensor for key, tensor in own.items()})
        return module
