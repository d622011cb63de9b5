"""CLIP's two towers through open_clip: the network behind CLIP-T, CLIP-I, AES, PickScore and HPSv2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from afa_bench.extractors.network import Network
from afa_bench.extractors.pixels import Fit, ShortSide, normalised

if TYPE_CHECKING:
    from torch import Tensor, nn

VIT_H14: Mapping[str, Any] = {
    "embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24},
}
"""open_clip's ViT-H-14."""


@dataclass
class ClipNetwork(Network):
    """L2-normalised image and text embeddings ``(B, D)``.

    A configuration is what ``open_clip.CLIP`` takes: ``embed_dim``, ``vision_cfg``, ``text_cfg``, ``quick_gelu``.
    """

    gives: ClassVar[Mapping[str, int | None]] = {"embedding": None}

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """An ``open_clip.CLIP``."""
        import open_clip

        network: nn.Module = open_clip.CLIP(**config)
        return network

    def load(self, device: str) -> None:
        """Bring the network into memory."""
        super().load(device)
        if self.config.get("quick_gelu"):
            with_silu(self.model)

    def fit(self) -> Fit:
        """PIL bicubic to the short side, centre crop."""
        return ShortSide(self.config["vision_cfg"]["image_size"])

    def run(self, pixels: Tensor, captions: Sequence[str]) -> Mapping[str, Tensor]:
        """``embedding`` ``(B, D)``."""
        return {"embedding": self.model.encode_image(normalised(pixels), normalize=True)}

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token ids ``(B, 77)``: cut to the length, the last one EOT, zeros behind it."""
        import open_clip

        ids: Tensor = open_clip.tokenize(list(texts), self.config["text_cfg"]["context_length"])
        return ids

    def cut(self, texts: Sequence[str]) -> tuple[int, int]:
        """Texts whose end is cut off."""
        length = self.config["text_cfg"]["context_length"]
        return sum(count > length for count in self.lengths(texts, length + 1)), length

    def lengths(self, texts: Sequence[str], most: int) -> list[int]:
        """How many tokens texts are, their marks of beginning and end included; ``most`` where they are more."""
        import open_clip

        return [int(ids.argmax()) + 1 for ids in open_clip.tokenize(list(texts), most)]  # EOT is the highest id

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``(B, D)``."""
        import torch

        with torch.inference_mode(), self.precision():
            return self.read(self.tokens(texts).to(self.device)).float().cpu().numpy()

    def read(self, ids: Tensor) -> Tensor:
        """L2-normalised embeddings ``(B, D)`` of token ids, as the network's ``encode_text``.

        The zeros behind the longest text are left out, most of the 77: attention is causal, no token of a text sees them.
        """
        import torch
        from torch.nn.functional import normalize

        network = self.model
        end = ids.argmax(dim=1)  # EOT is the highest id
        length = int(end.max()) + 1
        states = network.token_embedding(ids[:, :length]) + network.positional_embedding[:length]
        states = network.transformer(states, attn_mask=network.attn_mask[:length, :length])
        states = network.ln_final(states)[torch.arange(len(ids), device=ids.device), end]
        return normalize(states @ network.text_projection, dim=-1)


def with_silu(network: Any) -> None:
    """Let SiLU, which is one operation and works in place, do what QuickGELU does in three.

    ``x sigmoid(1.702 x) = SiLU(1.702 x) / 1.702``: the factor goes into the linear layers before and behind. The network is an
    eighth faster on a CPU.
    """
    from torch import nn

    for tower in (network.visual.transformer, network.transformer):
        for block in tower.resblocks:
            first, last = block.mlp.c_fc, block.mlp.c_proj
            for parameter, factor in ((first.weight, 1.702), (first.bias, 1.702), (last.weight, 1 / 1.702)):
                parameter.data = parameter.data * factor
            block.mlp.gelu = nn.SiLU(inplace=True)
