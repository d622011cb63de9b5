"""The metrics' networks at a fraction of their width, with random weights under the names of the published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SMALL_CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "head_width": 16, "patch_size": 56},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
SMALL_REWARD: dict[str, Any] = {
    "vision": {"img_size": 224, "patch_size": 56, "embed_dim": 64, "depth": 2, "num_heads": 4},
    "text": {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "head": (24, 16, 8, 4, 1),
}
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "very", "long", "##s", "red", "blue", "狗", "house")

SIZES = ((224, 224), (300, 256), (1, 64), (501, 227), (64, 1), (37, 91))
"""Heights and widths."""

CAPTIONS = ("a dog", "", "very " * 35, "very " * 77, "very " * 500 + "long", "狗 🐕", "a &amp; b's ﬁne Café", " Red\t dogs ")


def images(seed: int = 0) -> list[Image.Image]:
    """Noise of all sizes."""
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]


def clip_state(config: dict[str, Any] = SMALL_CLIP, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of an ``open_clip.CLIP``."""
    import open_clip

    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = open_clip.CLIP(**config).state_dict()
    return state


def reward_state(config: dict[str, Any] = SMALL_REWARD, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of ``ImageReward.pt``, those that take no part included."""
    from afa_bench.extractors.imagereward import reward_network

    torch.manual_seed(seed)
    own = reward_network(config).state_dict()
    state = {name.replace("mlp.", "mlp.layers.") if name.startswith("mlp.") else f"blip.{name}": t for name, t in own.items()}
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(512)[None]
    return state | {"blip.vision_proj.weight": torch.zeros(2, 2), "blip.text_proj.bias": torch.zeros(2)}


def vocabulary(folder: Path) -> Path:
    """A ``vocab.txt`` of a few word pieces."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return path
