"""FLUX.1: a transformer on tokens of 2 x 2 latents, trained by flow matching and distilled for guidance; CLIP and T5 read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from afa_bench.architectures.base import Architecture

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from afa_bench.architectures.objective import Objective

GUIDANCE = 3.5
"""With which FLUX.1 [dev]'s stock pipeline samples."""
T5_TOKENS = 512
"""The length that the stock pipeline pads T5's tokens to."""


class FLUX(Architecture):
    name = "flux"
    title = "FLUX"
    version = 0
    pipeline = "FluxPipeline"
    denoiser = ("transformer", "FluxTransformer2DModel")
    encoders: ClassVar = {"text_encoder": "CLIPTextModel", "text_encoder_2": "T5EncoderModel"}
    tokenizers: ClassVar = {"tokenizer": "CLIPTokenizer", "tokenizer_2": "T5TokenizerFast"}
    scheduler = "FlowMatchEulerDiscreteScheduler"
    flow = True
    classifier_free = False
    marks = ("double_blocks.", "model.diffusion_model.double_blocks.", "single_transformer_blocks.")
    text_prefix = "text_encoders."

    @override
    def read_file(self, path: Path, configs: Path, dtype: torch.dtype, shared: Mapping[str, Any]) -> Mapping[str, Any]:
        """The transformer alone: the text encoders in such a file are not read."""
        part, kind = self.denoiser
        return {part: self.read_part(path, part, kind, configs, dtype)}

    @override
    def encode(self, texts: Sequence[str], tokenizers: Sequence[Any], encoders: Sequence[nn.Module]) -> dict[str, Tensor]:
        """T5's states ``(B, 512, D)`` and CLIP's pooled embedding."""
        from afa_bench.architectures.text import tokens

        clip, t5 = encoders
        pooled = clip(tokens(texts, tokenizers[0], clip)).pooler_output
        length = min(T5_TOKENS, tokenizers[1].model_max_length)
        return {"prompt_embeds": t5(tokens(texts, tokenizers[1], t5, length))[0], "pooled_prompt_embeds": pooled}

    @override
    def multiple(self, vae: Any) -> int:
        return 2 * super().multiple(vae)

    @override
    def latent_shape(self, vae: Any, denoiser: Any, height: int, width: int) -> tuple[int, int, int]:
        rows, columns = (side // self.multiple(vae) * 2 for side in (height, width))
        return denoiser.config.in_channels // 4, rows, columns

    @override
    def packed(self, latents: Tensor) -> Tensor:
        """Tokens ``(B, H / 2 * W / 2, 4 * C)``, row by row."""
        from afa_bench.architectures.flux_flow import packed

        return packed(latents)

    @override
    def objective(self, scheduler: Any, denoiser: Any, guidance: float | None = None) -> Objective:
        from afa_bench.architectures.flux_flow import FluxFlow

        scale = GUIDANCE if guidance is None else guidance
        return FluxFlow(scheduler, scale if denoiser.config.guidance_embeds else None)

    @override
    def view(self, denoiser: nn.Module) -> Any:
        from afa_bench.architectures.flux_blocks import FluxView

        return FluxView(denoiser)
