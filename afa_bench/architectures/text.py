"""Text encoders: several of one model as one module, those of several models side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

PLACES = ("first", "second", "third", "fourth")


class TextEncoders(nn.Module):
    """The text encoders of one model, where it has several, as one module: what a merge merges and a method passes on."""

    def __init__(self, *encoders: nn.Module) -> None:
        super().__init__()
        for name, encoder in zip(PLACES, encoders, strict=False):
            self.add_module(name, encoder)


def together(encoders: Sequence[nn.Module], known: Iterable[nn.Module]) -> nn.Module:
    """One model's text encoders as one module: the very module among those of earlier models which has the same ones."""
    if len(encoders) == 1:
        return encoders[0]
    same = (module for module in known if all(a is b for a, b in zip(encoders_of(module), encoders, strict=True)))
    return next(same, None) or TextEncoders(*encoders)


def encoders_of(module: nn.Module) -> Sequence[nn.Module]:
    """The text encoders in a module made by :func:`together`."""
    return list(module.children()) if isinstance(module, TextEncoders) else [module]


@torch.no_grad()
def side_by_side(encoders: Sequence[nn.Module], read: Callable[[Sequence[nn.Module]], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What N models' text encoders say, each kind of it side by side on the last axis.

    Args:
        encoders: as :func:`together` gives them; each distinct one runs once.
        read: one model's text encoders, in the pipeline's order, to what they say.
    """
    distinct: dict[int, Mapping[str, Tensor]] = {}
    for module in encoders:
        if id(module) not in distinct:
            distinct[id(module)] = read(encoders_of(module))
    encoded = [distinct[id(module)] for module in encoders]
    return {name: torch.cat([own[name] for own in encoded], dim=-1) for name in encoded[0]}


def tokens(texts: Sequence[str], tokenizer: Any, encoder: nn.Module, length: int | None = None) -> Tensor:
    """Token ids ``(B, L)``, padded and cut to a length (the tokenizer's by default), on the encoder's device."""
    ids: Tensor = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=length or tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    return ids.to(next(encoder.parameters()).device)
