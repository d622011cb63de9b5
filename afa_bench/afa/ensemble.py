"""Several U-Nets as one, block by block (the paper, section 3.2, equations 2-4).

At every block all models get the same hidden state and the same skip, and their outputs are aggregated into one, which is the
next block's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from afa_bench.blocks.unet import Block, BlockView, Condition, Size, require_alike
from afa_bench.errors import UserError

Aggregate: TypeAlias = Callable[[int, Sequence[Tensor], Tensor, Tensor], Tensor]
"""``(block index, N features (B, C, H, W), time embedding (B, T), text states (B, L, D)) -> (B, C, H, W)``."""


def mean(index: int, features: Sequence[Tensor], temb: Tensor, text: Tensor) -> Tensor:
    """Block-wise averaging: every model has the same weight everywhere (the paper's ablation of SABW)."""
    return average(features)


def average(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape."""
    first, *rest = tensors
    for tensor in rest:
        first = first + tensor
    return first / len(tensors) if rest else first


class UNets(nn.Module):
    """N U-Nets of one architecture in the place of one: what ``pipe.unet`` of a stock diffusers pipeline can be set to.

    A subclass says how their predictions become one. ``encoder_hidden_states`` carries the N models' text states side by side on
    its last axis, ``(B, L, N * D)``, in the order of ``unets``; all other inputs are common to all.

    Args:
        unets: diffusers' ``UNet2DConditionModel`` of one configuration.

    Raises:
        UserError: the models differ in their configuration; the message names the first difference.
    """

    def __init__(self, unets: Sequence[Any]) -> None:
        super().__init__()
        require_alike(unets)
        self.unets = nn.ModuleList(unets)

    @property
    def config(self) -> Any:
        """The configuration of the first model; the others are alike."""
        return self.unets[0].config

    @property
    def dtype(self) -> torch.dtype:
        """The models' number format."""
        return self.unets[0].dtype  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where the models are."""
        return self.unets[0].device  # type: ignore[return-value]

    @property
    def add_embedding(self) -> nn.Module:
        """What an SDXL pipeline asks for the width of its added conditions."""
        return self.unets[0].add_embedding  # type: ignore[return-value]

    def enable_freeu(self, s1: float, s2: float, b1: float, b2: float) -> None:
        """FreeU in each model (``pipe.enable_freeu``)."""
        for unet in self.unets:
            unet.enable_freeu(s1=s1, s2=s2, b1=b1, b2=b2)  # type: ignore[operator]

    def disable_freeu(self) -> None:
        """No FreeU."""
        for unet in self.unets:
            unet.disable_freeu()  # type: ignore[operator]

    def texts(self, states: Tensor) -> Sequence[Tensor]:
        """Each model's own text states ``(B, L, D)``.

        Raises:
            UserError: the last axis is not N models' states wide.
        """
        count = len(self.unets)
        width = self.config.encoder_hid_dim or self.config.cross_attention_dim
        if isinstance(width, int) and states.shape[-1] != count * width:
            raise UserError(
                f"encoder_hidden_states: last axis: {states.shape[-1]}; expected {count} models' states of {width} side by side"
            )
        return [part.contiguous() for part in states.chunk(count, dim=-1)]


class EnsembleUNet(UNets):
    """N U-Nets as one, block by block.

    The aggregator is given the mean over the models of their time embeddings (after each model's MLP) and of their text states.
    ControlNet's and T2I-Adapters' residuals are added after the aggregation.

    Args:
        unets: diffusers' ``UNet2DConditionModel`` of one configuration.
        aggregate: how a block's N outputs become one: a ``SABW``, :func:`mean`, or any callable of that signature.

    Raises:
        UserError: the models differ in their configuration, or have a part which is not supported; the message names it.
    """

    def __init__(self, unets: Sequence[nn.Module], aggregate: Aggregate) -> None:
        super().__init__(unets)
        self.views = [BlockView(unet) for unet in unets]
        self.aggregate = aggregate

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None = None,
        timestep_cond: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        added_cond_kwargs: Mapping[str, Tensor] | None = None,
        down_block_additional_residuals: Sequence[Tensor] | None = None,
        mid_block_additional_residual: Tensor | None = None,
        down_intrablock_additional_residuals: Sequence[Tensor] | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """The ensemble's prediction for ``sample`` ``(B, C, H, W)``: arguments and result as those of the stock U-Net."""
        hidden = 2 * sample - 1.0 if self.config.center_input_sample else sample
        conditions = [
            view.condition(
                hidden,
                timestep,
                text,
                class_labels=class_labels,
                timestep_cond=timestep_cond,
                added_cond_kwargs=added_cond_kwargs,
                attention_bias=_bias(attention_mask, sample),
                text_bias=_bias(encoder_attention_mask, sample),
                attention_kwargs=_without_lora_scale(cross_attention_kwargs),
            )
            for view, text in zip(self.views, self.texts(encoder_hidden_states), strict=True)
        ]
        temb = average([condition.temb for condition in conditions])
        text = average([condition.text for condition in conditions])
        adapters, controls = down_intrablock_additional_residuals, down_block_additional_residuals
        if mid_block_additional_residual is None:  # ControlNet always gives both; without the middle one they are an adapter's
            adapters, controls = adapters if adapters is not None else controls, None

        odd = any(side % 2 ** self.views[0].unet.num_upsamplers for side in sample.shape[-2:])
        skips: list[Tensor] = []
        for index, blocks in enumerate(zip(*self.views, strict=True)):
            block = blocks[0]
            skip = skips.pop() if block.pops else None
            size = tuple(skips[-1].shape[2:]) if odd and block.pops and skips else None
            hidden = self.fused(index, blocks, conditions, hidden, skip, size, temb, text)
            hidden = _adapted(hidden, block.adapter, adapters, must_fit=block.pushes)
            if block.pushes:
                skips.append(hidden)
            elif not block.pops and mid_block_additional_residual is not None and controls is not None:
                skips = [skip + control for skip, control in zip(skips, controls, strict=True)]
                hidden = hidden + mid_block_additional_residual
        return UNet2DConditionOutput(sample=hidden) if return_dict else (hidden,)

    def fused(
        self,
        index: int,
        blocks: Sequence[Block],
        conditions: Sequence[Condition],
        hidden: Tensor,
        skip: Tensor | None,
        size: Size,
        temb: Tensor,
        text: Tensor,
    ) -> Tensor:
        """The output of block ``index``: all N models run and are aggregated. A subclass may choose among them instead.

        Args:
            index: of the block.
            blocks, conditions: of each model.
            hidden, skip, size: the block's input ``(B, C, H, W)``; see :class:`Block`.
            temb, text: the means of the models' own.
        """
        features = [own(hidden, condition, skip, size) for own, condition in zip(blocks, conditions, strict=True)]
        return self.aggregate(index, features, temb, text)


def _bias(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask of ones (keep) and zeros ``(B, K)`` as a bias on attention scores ``(B, 1, K)``, as the stock U-Net does it."""
    return None if mask is None else ((1 - mask.to(like.dtype)) * -10000.0).unsqueeze(1)


def _without_lora_scale(kwargs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if kwargs is None:
        return None
    if kwargs.get("scale", 1.0) != 1.0:
        raise UserError("cross_attention_kwargs: scale: a LoRA scale is not supported; fuse the LoRA into its model first")
    return {key: value for key, value in kwargs.items() if key != "scale"}


def _adapted(hidden: Tensor, index: int | None, residuals: Sequence[Tensor] | None, must_fit: bool) -> Tensor:
    """A block's output with its T2I-Adapter residual; the middle block (``must_fit`` false) takes one only of its own shape."""
    if residuals is None or index is None or index >= len(residuals):
        return hidden
    if not must_fit and residuals[index].shape != hidden.shape:
        return hidden
    return hidden + residuals[index]
