"""Small CLIPs: one whose text tower becomes the pipelines' text encoder, one of another seed that evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig

from afa_bench.mini.recipe.loop import Losses, Report, fit
from afa_bench.mini.recipe.muon import Muon
from afa_bench.mini.recipe.settings import PartTraining
from afa_bench.mini.recipe.text import LENGTH, tokens
from afa_bench.mini.recipe.vae import to_model

MEAN = STD = (0.5, 0.5, 0.5)  # what an evaluator normalises images with: pixels in [0, 1] to [-1, 1]


def text_config(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPTextConfig:
    """The text tower's configuration."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attention_dropout=0.0,
    )


def new_clip(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPModel:
    """An untrained CLIP for 32 x 32 images in patches of 8."""
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=width,
    )
    text = text_config(tokenizer, width, layers)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=width))


def train_clip(
    clip: CLIPModel,
    ids: Tensor,
    images: Tensor,
    weight: Tensor,
    part: PartTraining,
    checkpoint: Path,
    report: Report | None = None,
) -> Losses:
    """Contrastive training on captions (``ids``: (N, L)) and images ((N, 32, 32, 3) uint8); a batch holds no pair twice."""

    def loss(rng: torch.Generator) -> Tensor:
        picks = torch.multinomial(weight, part.batch, replacement=False, generator=rng)
        text, image = embed(clip, ids[picks], to_model(images[picks]))
        logits = clip.logit_scale.exp().clamp(max=100) * text @ image.T
        target = torch.arange(len(picks))
        return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2

    optimizer = Muon([clip], lr=part.lr, adam_lr=part.adam_lr, plain=("embedding", "logit_scale"))
    return fit([clip], optimizer, loss, steps=part.steps, seed=part.seed, checkpoint=checkpoint, ema=part.ema, report=report)


def embed(clip: CLIPModel, ids: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Unit text and image embeddings, each (B, D), of token ids (B, L) and pixels (B, 3, 32, 32) in [-1, 1]."""
    output = clip(input_ids=ids, pixel_values=pixels)
    return output.text_embeds, output.image_embeds


def text_encoder(clip: CLIPModel, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The text tower as the text encoder of a pipeline."""
    encoder = CLIPTextModel(clip.config.text_config)
    tower = clip.text_model.state_dict()
    own = {name: tower[name.removeprefix("text_model.")] for name in encoder.state_dict()}
    encoder.load_state_dict(own)
    return encoder


@torch.no_grad()
def retrieval(clip: CLIPModel, tokenizer: CLIPTokenizer, captions: Sequence[str], images: Tensor) -> float:
    """The share of images (N, 32, 32, 3) whose own caption is the nearest of all N."""
    clip.eval()
    text, image = embed(clip, tokens(tokenizer, captions), to_model(images))
    return (image @ text.T).argmax(1).eq(torch.arange(len(images))).float().mean().item()
