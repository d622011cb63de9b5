"""Configurations of U-Nets, and what their forward is given."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel

SDXL: dict[str, Any] = {
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 6 * 4 + 10,
}


REFINER: dict[str, Any] = {
    **SDXL,
    "block_out_channels": (8, 16, 16, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": 2,
    "projection_class_embeddings_input_dim": 5 * 4 + 10,
}


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sd15": ({}, {}),
    "centered": ({"center_input_sample": True}, {}),
    "linear": ({"use_linear_projection": True, "resnet_time_scale_shift": "scale_shift"}, {}),
    "upcast": ({"upcast_attention": True, "time_embedding_act_fn": "silu", "mid_block_type": "UNetMidBlock2D"}, {}),
    "class": ({"num_class_embeds": 5}, {"class_labels": torch.tensor([1, 4])}),
    "class-concat": (
        {"class_embed_type": "timestep", "class_embeddings_concat": True},
        {"class_labels": torch.tensor([10, 40])},
    ),
    "guidance-embedding": ({"time_cond_proj_dim": 12}, {"timestep_cond": randn(2, 12)}),
    "added-text": ({"addition_embed_type": "text", "addition_embed_type_num_heads": 2}, {}),
    "sdxl": (SDXL, {"added_cond_kwargs": {"text_embeds": randn(2, 10), "time_ids": randn(2, 6)}}),
    "sdxl-refiner": (REFINER, {"added_cond_kwargs": {"text_embeds": randn(2, 10), "time_ids": randn(2, 5)}}),
    "layers": ({"layers_per_block": (1, 2, 3, 2), "block_out_channels": (8, 16, 12, 20)}, {}),
    "text-mask": ({}, {"encoder_attention_mask": torch.tensor([[1, 1, 0, 0, 1, 0], [1, 0, 1, 1, 1, 1]])}),
}


def sdxl_refiner() -> UNet2DConditionModel:
    """SDXL's refiner at its own width, without memory."""
    wide = {**REFINER, "block_out_channels": (384, 768, 1536, 1536), "projection_class_embeddings_input_dim": 2560}
    with torch.device("meta"):
        return UNet2DConditionModel(
            **{**wide, "transformer_layers_per_block": 4, "addition_time_embed_dim": 256},
            cross_attention_dim=1280,
            attention_head_dim=(6, 12, 24, 24),
        )
