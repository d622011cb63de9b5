"""Prompts to the text states that a denoiser takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from afa_bench.method import Model
    from afa_bench.models.load import LoadedGroup

T5_TOKENS = 512
"""The length that FLUX' stock pipeline pads T5's tokens to."""

States: TypeAlias = tuple[Tensor, Tensor]
"""Text states ``(B, L, D)`` and pooled embeddings ``(B, P)``."""


class TextEncoders(nn.Module):
    """The two text encoders of an SDXL or a FLUX model as one module: what a merge merges and a method passes on."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second


def together(encoders: Sequence[nn.Module], models: Sequence[Model]) -> nn.Module:
    """One model's text encoders as one module: the very module of an earlier model that has the same ones."""
    if len(encoders) == 1:
        return encoders[0]
    known = (model.text_encoder for model in models)
    same = (module for module in known if all(a is b for a, b in zip(encoders_of(module), encoders, strict=True)))
    return next(same, None) or TextEncoders(*encoders)


def encoders_of(module: nn.Module) -> Sequence[nn.Module]:
    """The text encoders in a module made by :func:`together`."""
    return (module.first, module.second) if isinstance(module, TextEncoders) else (module,)


@torch.no_grad()
def encode(texts: Sequence[str], tokenizer: Any, encoders: Sequence[nn.Module]) -> Tensor:
    """The last hidden states of N encoders side by side, without clip skip.

    Each distinct encoder runs once. Texts are padded and cut to the tokenizer's length L.

    Returns:
        ``(len(texts), L, N * D)``, in the encoders' dtype and on their device.
    """
    return _each(encoders, lambda encoder: (encoder(_tokens(texts, tokenizer, encoder))[0],))[0]


@torch.no_grad()
def conditions(
    texts: Sequence[str], negative: str, guided: bool, loaded: LoadedGroup, encoders: Sequence[nn.Module]
) -> dict[str, Tensor]:
    """What a stock pipeline takes in place of prompts, of the group's family.

    Args:
        texts: a prompt a row.
        negative: the text of the unconditional half; SDXL takes zeros for an empty one, as its stock pipeline does.
        guided: with classifier-free guidance; FLUX is told its scale instead and has no unconditional half.
        loaded: the group.
        encoders: of the denoiser.

    Returns:
        ``prompt_embeds`` and, where the family has them, ``pooled_prompt_embeds``, each with its negative.
    """
    name, tokenizers = loaded.group.family.name, loaded.tokenizers
    if name == "sd15":
        found = {"prompt_embeds": encode(texts, loaded.tokenizer, encoders)}
        if guided:
            found["negative_prompt_embeds"] = encode([negative], loaded.tokenizer, encoders).expand(len(texts), -1, -1)
        return found
    states, pooled = _each(encoders, lambda both: (_sdxl if name == "sdxl" else _flux)(texts, tokenizers, both))
    found = {"prompt_embeds": states, "pooled_prompt_embeds": pooled}
    if guided and name == "sdxl":
        if negative:
            unguided, unpooled = _each(encoders, lambda both: _sdxl([negative] * len(texts), tokenizers, both))
        else:
            unguided, unpooled = torch.zeros_like(states), torch.zeros_like(pooled)
        found |= {"negative_prompt_embeds": unguided, "negative_pooled_prompt_embeds": unpooled}
    return found


def _each(encoders: Sequence[nn.Module], run: Callable[[nn.Module], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Outputs of N encoders, each kind side by side on the last axis; each distinct encoder runs once."""
    outputs: dict[int, Sequence[Tensor]] = {}
    for encoder in encoders:
        if id(encoder) not in outputs:
            outputs[id(encoder)] = run(encoder)
    return tuple(torch.cat(kind, dim=-1) for kind in zip(*(outputs[id(encoder)] for encoder in encoders), strict=True))


def _sdxl(texts: Sequence[str], tokenizers: Sequence[Any], both: nn.Module) -> States:
    """The states before the last layer of both encoders, ``(B, 77, D1 + D2)``, and the second's projected embedding."""
    first, second = encoders_of(both)
    one: Any = first(_tokens(texts, tokenizers[0], first), output_hidden_states=True)
    two: Any = second(_tokens(texts, tokenizers[1], second), output_hidden_states=True)
    return torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1), two.text_embeds


def _flux(texts: Sequence[str], tokenizers: Sequence[Any], both: nn.Module) -> States:
    """T5's states ``(B, 512, D)`` and CLIP's pooled embedding."""
    clip, t5 = encoders_of(both)
    pooled: Any = clip(_tokens(texts, tokenizers[0], clip)).pooler_output
    length = min(T5_TOKENS, tokenizers[1].model_max_length)
    return t5(_tokens(texts, tokenizers[1], t5, length))[0], pooled


def _tokens(texts: Sequence[str], tokenizer: Any, encoder: nn.Module, length: int | None = None) -> Tensor:
    """Token ids ``(B, L)``, padded and cut, on the encoder's device."""
    ids: Tensor = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=length or tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    return ids.to(next(encoder.parameters()).device)
