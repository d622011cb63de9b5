"""A stock diffusers ``FluxTransformer2DModel`` seen as a list of blocks (the paper, appendix J).

57 for FLUX.1: its 19 double and 38 single blocks. The first one begins with the model's embeddings of the latents and of the
text, the last one ends with its output norm and projection, as the first and the last block of a U-Net hold its input and
output convolutions. One model's blocks, one after the other, compute what the model computes, to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from afa_bench.errors import UserError


@dataclass(frozen=True, slots=True)
class FluxCondition:
    """What one model's blocks are given beside the two streams.

    Attributes:
        temb: the embedding of timestep, guidance and pooled text, ``(B, T)``.
        rotary: the rotary embedding of all positions, text first, which is the same for all models.
        attention_kwargs: passed on to the attention processors, or None.
    """

    temb: Tensor
    rotary: tuple[Tensor, Tensor]
    attention_kwargs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FluxBlock:
    """One block: image tokens ``(B, P, C)`` and text tokens ``(B, L, C)`` -> ``(B, P, channels)`` and ``(B, L, C)``.

    Attributes:
        name: where it is, in diffusers' names.
        channels: of its image tokens.
        module: the model's own block.
        model: whose it is; its parts are looked up at the call, since a LoRA may take their place.
        first: whether the embeddings of the latents and of the text come before it.
        last: whether the output's norm and projection come after it.
    """

    name: str
    channels: int
    module: nn.Module
    model: Any
    first: bool = False
    last: bool = False

    def __call__(
        self, image: Tensor, text: Tensor, condition: FluxCondition, residual: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Both streams after the block; ``residual`` ``(B, P, C)`` is ControlNet's, added to the image tokens."""
        if self.first:
            image, text = self.model.x_embedder(image), self.model.context_embedder(text)
        text, image = self.module(
            hidden_states=image,
            encoder_hidden_states=text,
            temb=condition.temb,
            image_rotary_emb=condition.rotary,
            joint_attention_kwargs=condition.attention_kwargs,
        )
        if residual is not None:
            image = image + residual
        if self.last:
            image = self.model.proj_out(self.model.norm_out(image, condition.temb))
        return image, text


class FluxView(Sequence[FluxBlock]):
    """The blocks of a stock FLUX transformer, in the order in which they run.

    Args:
        transformer: a diffusers ``FluxTransformer2DModel``; it is neither copied nor changed.

    Raises:
        UserError: it is no such model.
    """

    def __init__(self, transformer: nn.Module) -> None:
        if not hasattr(transformer, "single_transformer_blocks") or not hasattr(transformer, "time_text_embed"):
            raise UserError(f"FLUX: {type(transformer).__name__} is not supported; expected FluxTransformer2DModel")
        self.transformer: Any = transformer
        self.blocks = self._walk()
        self.channels = tuple(block.channels for block in self.blocks)

    def __getitem__(self, index: Any) -> Any:
        return self.blocks[index]

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def temb(self) -> int:
        """Width of the embedding of timestep, guidance and pooled text."""
        return int(self.transformer.inner_dim)

    @property
    def text(self) -> int:
        """Width of the text states."""
        return int(self.transformer.config.joint_attention_dim)

    def condition(
        self,
        timestep: Tensor,
        guidance: Tensor | None,
        pooled: Tensor,
        rotary: tuple[Tensor, Tensor],
        attention_kwargs: Mapping[str, Any] | None = None,
    ) -> FluxCondition:
        """This model's own reading of the timestep (in [0, 1]), the guidance scale and the pooled text ``(B, D)``.

        The numbers are in the format in which the model computes.
        """
        numbers = [value.to(self.transformer.dtype) * 1000 for value in (timestep, guidance) if value is not None]
        return FluxCondition(self.transformer.time_text_embed(*numbers, pooled), rotary, attention_kwargs)

    def _walk(self) -> tuple[FluxBlock, ...]:
        model = self.transformer
        named = [
            (f"{key}.{index}", module)
            for key in ("transformer_blocks", "single_transformer_blocks")
            for index, module in enumerate(getattr(model, key))
        ]
        last = len(named) - 1
        return tuple(
            FluxBlock(
                name,
                model.proj_out.out_features if index == last else model.inner_dim,
                module,
                model,
                first=index == 0,
                last=index == last,
            )
            for index, (name, module) in enumerate(named)
        )


def residuals(
    doubles: int, singles: int, of_doubles: Sequence[Tensor] | None, of_singles: Sequence[Tensor] | None, repeat: bool = False
) -> list[Tensor | None]:
    """ControlNet's residual of each block, as the stock forward deals them out.

    Args:
        doubles: number of double blocks.
        singles: number of single blocks.
        of_doubles: what a ControlNet has for the double blocks; each serves several neighbours where there are fewer.
        of_singles: the same for the single blocks.
        repeat: deal those of the double blocks out in turn.
    """

    def dealt(count: int, given: Sequence[Tensor] | None, in_turn: bool = False) -> list[Tensor | None]:
        if given is None:
            return [None] * count
        run = -(-count // len(given))
        return [given[index % len(given) if in_turn else index // run] for index in range(count)]

    return dealt(doubles, of_doubles, repeat) + dealt(singles, of_singles)


def grid(ids: Tensor) -> tuple[int, int]:
    """The height and width, in tokens, of the image whose tokens have these position ids ``(P, 3)``.

    Raises:
        UserError: they are not one image, row by row.
    """
    height, width = int(ids[:, 1].max()) + 1, int(ids[:, 2].max()) + 1
    rows = torch.arange(height, device=ids.device).repeat_interleave(width)
    columns = torch.arange(width, device=ids.device).repeat(height)
    if len(ids) != height * width or not bool((ids[:, 1] == rows).all() and (ids[:, 2] == columns).all()):
        raise UserError(f"img_ids: {len(ids)} tokens; expected one image's {height} x {width}, row by row")
    return height, width
