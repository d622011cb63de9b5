"""Checkpoints of the true depth and topology, a few channels wide, in the layouts that models come in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

WORDS = [chr(code) for code in range(33, 127)] + [chr(code) for code in range(161, 350)]
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False, "steps_offset": 1}
CROSS, POOLED = 16, 24


def clip(kind: str, width: int, layers: int, projection: int = 16) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=len(WORDS) * 2 + 2, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=2, max_position_embeddings=12, projection_dim=projection, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip
    return getattr(transformers, kind)(config).eval()


def tokenizer() -> Any:
    from transformers import CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>", *WORDS, *(word + "</w>" for word in WORDS)]
    return CLIPTokenizer({word: index for index, word in enumerate(words)}, [], model_max_length=12)


def vae(channels: int = 4) -> Any:
    """Of four levels, as all of them have."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 8, 16, 16), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, sample_size=32, layers_per_block=2, latent_channels=channels,
        use_quant_conv=channels == 4, use_post_quant_conv=channels == 4,
        shift_factor=None if channels == 4 else 0.1159,
    )  # fmt: skip


def sd15(folder: Path, seed: int) -> Path:
    """A pipeline folder with SD 1.5's depth."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 8, 16, 16), norm_num_groups=4, cross_attention_dim=CROSS, attention_head_dim=2
    )
    StableDiffusionPipeline(
        vae=vae(), text_encoder=clip("CLIPTextModel", CROSS, 12), tokenizer=tokenizer(), unet=unet,
        scheduler=DDIMScheduler(**SCHEDULE), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def sdxl(folder: Path, seed: int, big_layers: int = 32, layers: tuple[int, ...] = (1, 2, 10)) -> Path:
    """A pipeline folder with SDXL's depth: two text encoders, added conditions of text and time."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 8, 16), norm_num_groups=4, cross_attention_dim=CROSS + POOLED,
        attention_head_dim=(1, 2, 2), transformer_layers_per_block=layers, use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=POOLED + 6 * 4,
    )  # fmt: skip
    StableDiffusionXLPipeline(
        vae=vae(), text_encoder=clip("CLIPTextModel", CROSS, 12), tokenizer=tokenizer(), unet=unet,
        text_encoder_2=clip("CLIPTextModelWithProjection", POOLED, big_layers, POOLED), tokenizer_2=tokenizer(),
        scheduler=DDIMScheduler(**SCHEDULE),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def flux(folder: Path, seed: int) -> Path:
    """A pipeline folder with FLUX' parts: CLIP, T5, a transformer of two double and two single blocks."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    torch.manual_seed(seed)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((word, -2.0) for word in WORDS)]
    t5 = T5Config(vocab_size=500, d_model=CROSS, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=CROSS, pooled_projection_dim=CROSS, guidance_embeds=True, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    FluxPipeline(
        vae=vae(16), text_encoder=clip("CLIPTextModel", CROSS, 2), tokenizer=tokenizer(), transformer=transformer,
        text_encoder_2=T5EncoderModel(t5).eval(), tokenizer_2=T5TokenizerFast(vocab=pieces, model_max_length=20),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def configs_of(pipeline: Path, folder: Path) -> Path:
    """A pipeline's configurations and vocabularies, without its weights."""
    shutil.copytree(pipeline, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def merged_file(folder: Path, models: dict[str, str], name: str = "merged.safetensors") -> Path:
    """What ``afa-bench merge`` writes as a single file (LDM's names)."""
    from afa_bench.merging.merge import prepare
    from afa_bench.merging.recipe import read_recipe
    from afa_bench.merging.write import write_merge

    recipe = folder / f"{name}.yaml"
    recipe.write_text(json.dumps({"models": models, "method": "weighted"}))
    write_merge(prepare(read_recipe(recipe), folder), folder / name, lambda count: None)
    return folder / name


def flux_file(state: dict[str, torch.Tensor], path: Path) -> Path:
    """A FLUX transformer's tensors under the names that single files have: those of one double and one single block."""
    fixed = {
        "x_embedder": "img_in", "context_embedder": "txt_in", "proj_out": "final_layer.linear",
        "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
        "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
        "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
        "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
        "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
        "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    }  # fmt: skip
    double = {
        "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin", "attn.norm_q": "img_attn.norm.query_norm",
        "attn.norm_k": "img_attn.norm.key_norm", "attn.norm_added_q": "txt_attn.norm.query_norm",
        "attn.norm_added_k": "txt_attn.norm.key_norm", "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
        "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2", "attn.to_out.0": "img_attn.proj",
        "attn.to_add_out": "txt_attn.proj",
    }  # fmt: skip
    single = {
        "norm.linear": "modulation.lin", "proj_out": "linear2", "attn.norm_q": "norm.query_norm", "attn.norm_k": "norm.key_norm",
    }  # fmt: skip
    state, out = dict(state), dict[str, torch.Tensor]()

    def put(theirs: str, ours: str) -> None:
        for end in ("weight", "bias"):
            if f"{ours}.{end}" in state:
                out[f"{theirs}.{'scale' if '_norm' in theirs else end}"] = state.pop(f"{ours}.{end}")

    def joined(theirs: str, *ours: str) -> None:
        for end in ("weight", "bias"):
            out[f"{theirs}.{end}"] = torch.cat([state.pop(f"{name}.{end}") for name in ours])

    for ours, theirs in fixed.items():
        put(theirs, ours)
    block, other = "transformer_blocks.0", "double_blocks.0"
    joined(f"{other}.img_attn.qkv", *(f"{block}.attn.to_{part}" for part in "qkv"))
    joined(f"{other}.txt_attn.qkv", *(f"{block}.attn.add_{part}_proj" for part in "qkv"))
    for ours, theirs in double.items():
        put(f"{other}.{theirs}", f"{block}.{ours}")
    block, other = "single_transformer_blocks.0", "single_blocks.0"
    joined(f"{other}.linear1", *(f"{block}.attn.to_{part}" for part in "qkv"), f"{block}.proj_mlp")
    for ours, theirs in single.items():
        put(f"{other}.{theirs}", f"{block}.{ours}")
    for end in ("weight", "bias"):  # FLUX has shift before scale, diffusers the other way round
        scale, shift = state.pop(f"norm_out.linear.{end}").chunk(2)
        out[f"final_layer.adaLN_modulation.1.{end}"] = torch.cat([shift, scale])
    assert not state, list(state)
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, path)
    return path
