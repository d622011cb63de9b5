"""Prompts to the text states that a denoiser takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def encode(texts: Sequence[str], tokenizer: Any, encoders: Sequence[nn.Module]) -> Tensor:
    """The last hidden states of N encoders side by side, without clip skip.

    Each distinct encoder runs once. Texts are padded and cut to the tokenizer's length L.

    Returns:
        ``(len(texts), L, N * D)``, in the encoders' dtype and on their device.
    """
    tokens = tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    states: dict[int, Tensor] = {}
    for encoder in encoders:
        if id(encoder) not in states:
            device = next(encoder.parameters()).device
            states[id(encoder)] = encoder(tokens.input_ids.to(device))[0]
    return torch.cat([states[id(encoder)] for encoder in encoders], dim=-1)
