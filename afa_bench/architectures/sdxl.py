"""Stable Diffusion XL: a U-Net, two CLIP text encoders, and what it is told of an image's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from afa_bench.architectures.layout import Part
from afa_bench.architectures.ldm import CLIP_G, ldm_layout
from afa_bench.architectures.tensors import Shapes, tensors_of
from afa_bench.architectures.unet import UNetArchitecture

if TYPE_CHECKING:
    from torch import Tensor, nn


CLIP_L = "conditioner.embedders.0.transformer."

UNUSED = ("text_model.encoder.layers.11.", "text_model.final_layer_norm.")
"""Begin names of what SDXL, which takes CLIP L's states before the last layer, does not use of CLIP L."""


class SDXL(UNetArchitecture):
    name = "sdxl"
    title = "SDXL"
    version = 0
    pipeline = "StableDiffusionXLPipeline"
    encoders: ClassVar = {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"}
    tokenizers: ClassVar = {"tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer"}
    pads: ClassVar = {"tokenizer_2": "!"}
    marks = ("conditioner.embedders.", "model.diffusion_model.label_emb.", "add_embedding.")
    text_prefix = "conditioner.embedders."
    layout = replace(
        ldm_layout("SDXL", (False, True, True), {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G}),
        unused={"text_encoder": UNUSED},
        spare=(*(CLIP_L + name for name in UNUSED), CLIP_G + "text_projection"),
    )

    @override
    def encode(self, texts: Sequence[str], tokenizers: Sequence[Any], encoders: Sequence[nn.Module]) -> dict[str, Tensor]:
        """The states before the last layer of both encoders, ``(B, 77, D1 + D2)``, and the second's projected embedding."""
        import torch

        from afa_bench.architectures.text import tokens

        one, two = (
            encoder(tokens(texts, tokenizer, encoder), output_hidden_states=True)
            for tokenizer, encoder in zip(tokenizers, encoders, strict=True)
        )
        states = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1)
        return {"prompt_embeds": states, "pooled_prompt_embeds": two.text_embeds}

    @override
    def unconditional(self, tokenizers: Sequence[Any], encoders: Sequence[nn.Module], negative: str = "") -> dict[str, Tensor]:
        """Zeros for an empty text, as in the stock pipeline."""
        found = super().unconditional(tokenizers, encoders, negative)
        return found if negative else {name: value.new_zeros(value.shape) for name, value in found.items()}

    @override
    def size_conditions(self, image: tuple[int, int], corner: tuple[int, int], crop: tuple[int, int]) -> dict[str, list[float]]:
        """``time_ids``: original size, crop's corner, target size."""
        return {"time_ids": [float(number) for number in (*image, *corner, *crop)]}

    @override
    def shapes(self, part: Part, config: Mapping[str, Any]) -> Shapes:
        return tensors_of(part, config)
