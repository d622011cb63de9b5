"""A stock diffusers ``UNet2DConditionModel`` seen as a list of blocks.

The blocks are those of the paper (section 3.2), 25 = 12 + 1 + 12 for Stable Diffusion 1.5 and 19 for SDXL: the input convolution,
one block for each residual layer (with its attention) and each downsampler, the middle block, and one block for each residual
layer of the way up (with its attention and, at the end of a level, its upsampler or the output convolution). They call a
model's modules in the order in which its own ``forward`` does, so one model's blocks, one after the other, compute what the model
computes, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from diffusers.utils.torch_utils import apply_freeu
from torch import Tensor, nn

from afa_bench.errors import UserError

Size: TypeAlias = tuple[int, int] | None

DOWN_BLOCKS = ("CrossAttnDownBlock2D", "DownBlock2D")
MID_BLOCKS = ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D")
UP_BLOCKS = ("CrossAttnUpBlock2D", "UpBlock2D")


@dataclass(frozen=True, slots=True)
class Condition:
    """What one model's blocks are given beside the hidden state.

    Attributes:
        temb: the time embedding after the model's own MLP, class and added conditions included, ``(B, T)``.
        text: the text states ``(B, L, D)``; with IP-Adapters a pair of them and of the images' states.
        attention_bias: added to self-attention scores, ``(B, 1, K)``, or None.
        text_bias: added to cross-attention scores, ``(B, 1, L)``, or None.
        attention_kwargs: passed on to the attention processors, or None.
    """

    temb: Tensor
    text: Tensor | tuple[Tensor, Any]
    attention_bias: Tensor | None = None
    text_bias: Tensor | None = None
    attention_kwargs: Mapping[str, Any] | None = None

    @property
    def states(self) -> Tensor:
        """The text states alone."""
        return self.text[0] if isinstance(self.text, tuple) else self.text


Layer: TypeAlias = Callable[[Tensor, Condition, Size], Tensor]


def _plain(module: nn.Module, hidden: Tensor, condition: Condition, size: Size) -> Tensor:
    return module(hidden)  # type: ignore[no-any-return]


def _part(unet: nn.Module, name: str, hidden: Tensor, condition: Condition, size: Size) -> Tensor:
    """A part of the model itself, looked up at the call: a LoRA may have taken its place."""
    return getattr(unet, name)(hidden)  # type: ignore[no-any-return]


def _resnet(module: nn.Module, hidden: Tensor, condition: Condition, size: Size) -> Tensor:
    return module(hidden, condition.temb)  # type: ignore[no-any-return]


def _upsample(module: nn.Module, hidden: Tensor, condition: Condition, size: Size) -> Tensor:
    return module(hidden, size)  # type: ignore[no-any-return]


def _attended(condition: Condition) -> dict[str, Any]:
    return {
        "encoder_hidden_states": condition.text,
        "attention_mask": condition.attention_bias,
        "cross_attention_kwargs": condition.attention_kwargs,
        "encoder_attention_mask": condition.text_bias,
    }


def _attention(module: nn.Module, hidden: Tensor, condition: Condition, size: Size) -> Tensor:
    return module(hidden, **_attended(condition), return_dict=False)[0]  # type: ignore[no-any-return]


def _middle(module: nn.Module, hidden: Tensor, condition: Condition, size: Size) -> Tensor:
    return module(hidden, condition.temb, **_attended(condition))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Block:
    """One block: ``(B, C, H, W) -> (B, channels, H', W')``.

    Attributes:
        name: where it is, in diffusers' names ("down_blocks.0.2" is the third block of the first level).
        channels: of its output.
        layers: what it calls, in order.
        pushes: whether its output is kept as a skip.
        pops: whether it takes a skip.
        adapter: the index of the T2I-Adapter residual which is added to its output, or None.
        level: the model's own level on the way up (it holds FreeU's factors), else None.
    """

    name: str
    channels: int
    layers: tuple[Layer, ...]
    pushes: bool = False
    pops: bool = False
    adapter: int | None = None
    level: nn.Module | None = None

    def __call__(self, hidden: Tensor, condition: Condition, skip: Tensor | None = None, size: Size = None) -> Tensor:
        """The block's output; ``size`` is the (H', W') which an upsampler must reach, None for twice the input's."""
        if skip is not None:
            hidden = torch.cat(self._freeu(hidden, skip), dim=1)
        for layer in self.layers:
            hidden = layer(hidden, condition, size)
        return hidden

    def _freeu(self, hidden: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """FreeU writes into the hidden state, which other models share: it is given a copy."""
        kept = vars(self.level)
        factors = {name: kept.get(name) for name in ("s1", "s2", "b1", "b2")}
        if not all(factors.values()):
            return hidden, skip
        return apply_freeu(self.level.resolution_idx, hidden.clone(), skip, **factors)  # type: ignore[no-any-return,union-attr]


class BlockView(Sequence[Block]):
    """The blocks of a stock U-Net, in the order in which they run.

    Args:
        unet: a diffusers ``UNet2DConditionModel``; it is neither copied nor changed.

    Raises:
        UserError: the model has a part which cannot be seen as blocks; the message names it.
    """

    def __init__(self, unet: nn.Module) -> None:
        refuse_unsupported(unet)
        self.unet: Any = unet
        self.blocks = (*self._down(), self._mid(), *self._up())
        self.channels = tuple(block.channels for block in self.blocks)

    def __getitem__(self, index: Any) -> Any:
        return self.blocks[index]

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def temb(self) -> int:
        """Width of the time embedding after the model's MLP."""
        wide = 2 if self.unet.config.class_embeddings_concat else 1
        return int(self.unet.time_embedding.linear_2.out_features) * wide

    @property
    def text(self) -> int:
        """Width of the text states.

        Raises:
            UserError: it is not the same at all levels.
        """
        width = self.unet.config.cross_attention_dim
        if not isinstance(width, int):
            raise UserError(f"U-Net: cross_attention_dim: {width}; expected one width for all levels")
        return width

    def condition(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        text: Tensor,
        *,
        class_labels: Tensor | None = None,
        timestep_cond: Tensor | None = None,
        added_cond_kwargs: Mapping[str, Tensor] | None = None,
        attention_bias: Tensor | None = None,
        text_bias: Tensor | None = None,
        attention_kwargs: Mapping[str, Any] | None = None,
    ) -> Condition:
        """This model's own reading of the timestep, the class, the added conditions and the text ``(B, L, D)``."""
        unet = self.unet
        temb = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=timestep), timestep_cond)
        label = unet.get_class_embed(sample=sample, class_labels=class_labels)
        if label is not None:
            temb = torch.cat([temb, label], dim=-1) if unet.config.class_embeddings_concat else temb + label
        added = unet.get_aug_embed(emb=temb, encoder_hidden_states=text, added_cond_kwargs=added_cond_kwargs)
        if added is not None:
            temb = temb + added
        if unet.time_embed_act is not None:
            temb = unet.time_embed_act(temb)
        text = unet.process_encoder_hidden_states(encoder_hidden_states=text, added_cond_kwargs=added_cond_kwargs)
        return Condition(temb, text, attention_bias, text_bias, attention_kwargs)

    def _down(self) -> list[Block]:
        blocks = [Block("conv_in", self.unet.conv_in.out_channels, (partial(_part, self.unet, "conv_in"),), pushes=True)]
        for index, level in enumerate(self.unet.down_blocks):
            first = len(blocks)
            steps = [(pair, pair[0].out_channels) for pair in _pairs(level)]
            adapted = len(steps) - 1  # attention levels: before the downsampler; the others: after it
            for sampler in level.downsamplers or ():
                steps.append(((sampler,), sampler.out_channels))
            if not _has_attention(level):
                adapted = len(steps) - 1
            for modules, channels in steps:
                own = len(blocks) - first
                adapter = index if own == adapted else None
                blocks.append(Block(f"down_blocks.{index}.{own}", channels, _layers(modules), pushes=True, adapter=adapter))
        return blocks

    def _mid(self) -> Block:
        mid = self.unet.mid_block
        layer = partial(_middle if _has_attention(mid) else _resnet, mid)
        return Block("mid_block", mid.resnets[-1].out_channels, (layer,), adapter=len(self.unet.down_blocks))

    def _up(self) -> list[Block]:
        blocks = []
        for index, level in enumerate(self.unet.up_blocks):
            pairs = _pairs(level)
            for own, modules in enumerate(pairs):
                layers = _layers(modules)
                if own == len(pairs) - 1:
                    layers += tuple(partial(_upsample, module) for module in level.upsamplers or ())
                blocks.append(Block(f"up_blocks.{index}.{own}", modules[0].out_channels, layers, pops=True, level=level))
        last = blocks.pop()
        unet = self.unet
        tail = ("conv_norm_out", "conv_act", "conv_out") if unet.conv_norm_out else ("conv_out",)
        layers = last.layers + tuple(partial(_part, unet, name) for name in tail)
        return [*blocks, Block(last.name, unet.conv_out.out_channels, layers, pops=True, level=last.level)]


def _has_attention(level: nn.Module) -> bool:
    return bool(getattr(level, "has_cross_attention", False))


def _pairs(level: Any) -> list[tuple[Any, ...]]:
    """A level's residual layers, each with its attention where it has one."""
    if _has_attention(level):
        return list(zip(level.resnets, level.attentions, strict=True))
    return [(resnet,) for resnet in level.resnets]


def _layers(modules: tuple[Any, ...]) -> tuple[Layer, ...]:
    """A residual layer with its attention, or a lone downsampler."""
    first, *rest = modules
    run = _resnet if hasattr(first, "time_emb_proj") else _plain
    return (partial(run, first), *(partial(_attention, module) for module in rest))


def refuse_unsupported(unet: Any) -> None:
    """Raise a UserError which names the first part of a model that a block-wise forward would not carry."""
    names = {
        "down_block_types": ([type(level).__name__ for level in getattr(unet, "down_blocks", [None])], DOWN_BLOCKS),
        "mid_block_type": ([type(getattr(unet, "mid_block", None)).__name__], MID_BLOCKS),
        "up_block_types": ([type(level).__name__ for level in getattr(unet, "up_blocks", [None])], UP_BLOCKS),
    }
    for key, (found, known) in names.items():
        for name in found:
            if name not in known:
                raise UserError(f"U-Net: {key}: {name} is not supported; expected {' or '.join(known)}")
    supported: dict[str, tuple[object, ...]] = {
        "attention_type": ("default",),
        "dual_cross_attention": (False,),
        "addition_embed_type": (None, "text", "text_time"),
        "encoder_hid_dim_type": (None, "text_proj", "ip_image_proj"),
    }
    for key, values in supported.items():
        value = unet.config.get(key)
        if value not in values:
            raise UserError(f"U-Net: {key}: {value!r} is not supported; expected {' or '.join(map(repr, values))}")
