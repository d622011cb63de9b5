"""Tiny checkpoints with true names: every tensor that Stable Diffusion 1.5 and SDXL have, a few numbers in each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from sd_mecha.extensions import model_configs

SD15, SDXL = "sd1-ldm", "sdxl-sgm"
PARTS = ("clip_l", "clip_g", "vae", "diffuser")


def names(config: str, part: str | None = None) -> list[str]:
    """LDM's names, as another project lists them."""
    components = model_configs.resolve(config).components()
    parts = [part] if part else [part for part in PARTS if part in components]
    return [key for part in parts for key, about in components[part].keys().items() if not about.optional or part == "clip_g"]


def shape(key: str) -> tuple[int, ...]:
    """Small, and such that a tensor can be cut or reshaped as the true one is."""
    if "logit_scale" in key:
        return ()
    if ".in_proj_" in key:
        return (6, 2) if key.endswith("weight") else (6,)
    if "attn_1." in key and key.endswith("weight") and "norm" not in key:
        return (2, 2, 1, 1)
    return (3, 2) if key.endswith(("weight", "projection", "embedding")) else (3,)


def state(config: str, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Random numbers under all names."""
    random = torch.Generator().manual_seed(seed)
    tensors = {key: torch.randn(shape(key), generator=random).to(dtype) for key in names(config)}
    clip = "cond_stage_model" if config == SD15 else "conditioner.embedders.0"
    tensors[f"{clip}.transformer.text_model.embeddings.position_ids"] = torch.arange(4).reshape(1, 4) + seed
    tensors["alphas_cumprod"] = torch.rand(5, generator=random)
    if config == SDXL:
        tensors["v_pred"] = torch.zeros(0, dtype=torch.long)  # a mark without a number, as some files have
    return tensors


def checkpoint(path: Path, config: str, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Written to a single file, and returned."""
    tensors = state(config, seed, dtype)
    save_file(tensors, path)
    return tensors


def small_unets() -> Iterator[tuple[str, dict[str, object]]]:
    """Configurations of U-Nets with the true names and few numbers."""
    yield SD15, {"block_out_channels": (32, 64, 128, 128), "cross_attention_dim": 8, "attention_head_dim": 8}
    yield (
        SDXL,
        {
            "block_out_channels": (32, 64, 128),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "cross_attention_dim": 8,
            "attention_head_dim": (1, 2, 4),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 32,
        },
    )
