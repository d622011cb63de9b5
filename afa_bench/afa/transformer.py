"""The transformer of SABW: self-attention over a feature map's pixels and cross-attention to the text.

The same layers, and the same number of parameters, as the transformers in the U-Nets themselves, in as few operations as they
need: SABW runs at every block of every step, where a small model's time goes into the number of operations.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


class Attention(nn.Module):
    """Multi-head attention ``(B, P, W) -> (B, P, W)``, to the text ``(B, L, D)`` if given its width, else to itself."""

    def __init__(self, width: int, heads: int, text: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(text or width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, pixels: Tensor, context: Tensor) -> Tensor:
        query = self.query(pixels).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(context).unflatten(2, (2, self.heads, -1)).transpose(1, 3).unbind(dim=2)
        attended = scaled_dot_product_attention(query, key, value)
        return self.out(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Self-attention, cross-attention and a gated feed-forward, each with its norm before and its residual after.

    Without a width of the text there is no cross-attention (and no norm before it).
    """

    def __init__(self, width: int, heads: int, text: int | None) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width) if text else nn.Identity(), nn.LayerNorm(width)])
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads, text) if text else None
        self.up = nn.Linear(width, 8 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, pixels: Tensor, text: Tensor) -> Tensor:
        """``(B, P, W)`` and the text ``(B, L, D)`` -> ``(B, P, W)``."""
        to_self, to_text, to_gate = self.norms
        normed = to_self(pixels)
        pixels = pixels + self.self_attention(normed, normed)
        if self.cross_attention is not None:
            pixels = pixels + self.cross_attention(to_text(pixels), text)
        value, gate = self.up(to_gate(pixels)).chunk(2, dim=-1)
        return pixels + self.down(value * gelu(gate))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A transformer on a map ``(B, W, H, W')``, with its residual; the 1x1 convolutions in and out act on each pixel alone."""

    def __init__(self, width: int, heads: int, text: int | None, layers: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.layers = nn.ModuleList(Layer(width, heads, text) for _ in range(layers))
        self.proj_out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, text: Tensor) -> Tensor:
        """``hidden`` and the text ``(B, L, D)`` -> a map like ``hidden``."""
        pixels = self.proj_in(self.norm(hidden).flatten(2).transpose(1, 2))
        for layer in self.layers:
            pixels = layer(pixels, text)
        return hidden + self.proj_out(pixels).transpose(1, 2).unflatten(2, hidden.shape[2:])  # type: ignore[no-any-return]
