"""Configurations as the repositories of published models have them, and groups with such schedulers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from afa_bench.architectures.kind import SCHEDULER, Kind
from afa_bench.models.group import Group, read_group

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
USUAL = {
    **BETAS,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "skip_prk_steps": True,
    "trained_betas": None,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "SD 1.5": {"_class_name": "PNDMScheduler", **USUAL},
    "SD 2.1": {"_class_name": "DDIMScheduler", **USUAL, "prediction_type": "v_prediction"},
    "SDXL": {
        "_class_name": "EulerDiscreteScheduler", **USUAL, "interpolation_type": "linear", "prediction_type": "epsilon",
        "sample_max_value": 1.0, "timestep_spacing": "leading", "use_karras_sigmas": False,
    },
    "zero SNR": {
        "_class_name": "EulerDiscreteScheduler", **USUAL, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "timestep_spacing": "leading",
    },
    "zero SNR, trailing": {
        "_class_name": "DDIMScheduler", **USUAL, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
}  # fmt: skip
"""Schedulers' settings as the models' own repositories have them."""

FLOWS = {
    "SD 3.5": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
    "FLUX": {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096,
        "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True,
    },
}  # fmt: skip

CLIP = {
    "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "hidden_act": "quick_gelu",
    "hidden_size": 768, "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77, "num_attention_heads": 12, "num_hidden_layers": 12, "projection_dim": 768,
    "vocab_size": 49408,
}  # fmt: skip
UNET = {
    "act_fn": "silu", "center_input_sample": False, "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0,
    "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32,
    "out_channels": 4,
}  # fmt: skip
VAE = {
    "act_fn": "silu", "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "sd15/unet": ("UNet2DConditionModel", {
        **UNET, "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768,
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"], "sample_size": 64,
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    }),
    "sd15/vae": ("AutoencoderKL", {**VAE, "sample_size": 512, "scaling_factor": 0.18215}),
    "sd15/text_encoder": ("CLIPTextConfig", CLIP),
    "sdxl/unet": ("UNet2DConditionModel", {
        **UNET, "addition_embed_type": "text_time", "addition_embed_type_num_heads": 64, "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "class_embed_type": None,
        "class_embeddings_concat": False, "conv_in_kernel": 3, "conv_out_kernel": 3, "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2], "dual_cross_attention": False,
        "encoder_hid_dim": None, "mid_block_only_cross_attention": None, "mid_block_type": "UNetMidBlock2DCrossAttn",
        "num_attention_heads": None, "num_class_embeds": None, "only_cross_attention": False,
        "projection_class_embeddings_input_dim": 2816, "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": False,
        "resnet_time_scale_shift": "default", "sample_size": 128, "time_cond_proj_dim": None, "time_embedding_act_fn": None,
        "time_embedding_dim": None, "time_embedding_type": "positional", "timestep_post_act": None,
        "transformer_layers_per_block": [1, 2, 10], "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
        "use_linear_projection": True,
    }),
    "sdxl/vae": ("AutoencoderKL", {**VAE, "force_upcast": True, "sample_size": 1024, "scaling_factor": 0.13025}),
    "sdxl/text_encoder": ("CLIPTextConfig", CLIP),
    "sdxl/text_encoder_2": ("CLIPTextConfig", {
        **CLIP, "hidden_act": "gelu", "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20,
        "num_hidden_layers": 32, "projection_dim": 1280,
    }),
    "flux/transformer": ("FluxTransformer2DModel", {
        "attention_head_dim": 128, "guidance_embeds": True, "in_channels": 64, "joint_attention_dim": 4096,
        "num_attention_heads": 24, "num_layers": 19, "num_single_layers": 38, "patch_size": 1, "pooled_projection_dim": 768,
    }),
}  # fmt: skip
"""Configurations of the other parts, by the packaged ones' folders: the class that reads them, and what they say."""

KINDS = {"epsilon": Kind(), "velocity": Kind("v_prediction"), "zero": Kind("v_prediction", True)}


def with_scheduler(source: Path, target: Path, settings: dict[str, Any] | None) -> Path:
    """A copy of a folder, by links, with these settings of a scheduler, or with none."""
    target.mkdir()
    for part in source.iterdir():
        if part.name != "scheduler":
            (target / part.name).symlink_to(part)
    if settings is not None:
        (target / "scheduler").mkdir()
        (target / SCHEDULER).write_text(json.dumps(settings))
    return target


def group(folder: Path, architecture: str = "sd15", **content: Any) -> Group:
    """Models of SD 1.5, which stand for those of an architecture."""
    (folder / "group.yaml").write_text(yaml.safe_dump(content))
    return read_group("group.yaml", folder, "test").model_copy(update={"architecture": architecture})


def told_by_the_group(folder: Path, tiny: Path, settings: dict[str, Any], kind: Kind) -> Group:
    pipeline = with_scheduler(tiny / "base", folder / "base", settings)
    said = {"prediction_type": kind.prediction, "zero_snr": kind.zero_snr}
    return group(folder, pipeline=str(pipeline), models={"one": str(tiny / "one"), "two": str(tiny / "two")}, **said)
