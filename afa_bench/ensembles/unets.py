"""Several U-Nets as one, block by block (the paper, section 3.2, equations 2-4).

At every block all models get the same hidden state and the same skip, and their outputs are aggregated into one, which is the
next block's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from afa_bench.afa.sabw import SABW
from afa_bench.architectures.alike import require_alike
from afa_bench.architectures.unet_blocks import Block, BlockView, Condition, Size
from afa_bench.ensembles.base import ADAPTERS, Several, average, parts, without_lora_scale

Aggregate: TypeAlias = Callable[[int, Sequence[Tensor], Tensor, Tensor], Tensor]
"""``(block index, N features (B, C, H, W), time embedding (B, T), text states (B, L, D)) -> (B, C, H, W)``."""


def mean(index: int, features: Sequence[Tensor], temb: Tensor, text: Tensor) -> Tensor:
    """Block-wise averaging: every model has the same weight everywhere (the paper's ablation of SABW)."""
    return average(features)


class UNets(Several):
    """N U-Nets of one architecture in the place of one: what ``pipe.unet`` of a stock diffusers pipeline can be set to.

    A subclass says how their predictions become one. ``encoder_hidden_states`` carries the N models' text states side by side on
    its last axis, ``(B, L, N * D)``, in the order of ``unets``, or one model's ``(B, L, D)`` for all of them; so does SDXL's
    ``text_embeds``. All other inputs are common to all.

    Args:
        unets: diffusers' ``UNet2DConditionModel`` of one configuration.
        text_widths: of the text encoders of one model, where there are several whose states do not come model by model but
            encoder by encoder (see :func:`afa_bench.ensembles.base.parts`).

    Raises:
        UserError: the models differ; the message names the first difference.
    """

    def __init__(self, unets: Sequence[Any], text_widths: Sequence[int] | None = None) -> None:
        super().__init__()
        require_alike(unets)
        self.unets = nn.ModuleList(unets)
        self.text_widths = text_widths

    @property
    def models(self) -> Sequence[Any]:
        """The U-Nets, in their order."""
        return self.unets  # type: ignore[return-value]

    @property
    def add_embedding(self) -> nn.Module:
        """What an SDXL pipeline asks for the width of its added conditions."""
        return self.models[0].add_embedding  # type: ignore[no-any-return]

    def enable_freeu(self, s1: float, s2: float, b1: float, b2: float) -> None:
        """FreeU in each model (``pipe.enable_freeu``)."""
        for unet in self.models:
            unet.enable_freeu(s1=s1, s2=s2, b1=b1, b2=b2)

    def disable_freeu(self) -> None:
        """No FreeU."""
        for unet in self.models:
            unet.disable_freeu()

    def texts(self, states: Tensor) -> Sequence[Tensor]:
        """Each model's own text states ``(B, L, D)``.

        Raises:
            UserError: the last axis is neither one model's states wide nor N models'.
        """
        width = self.config.encoder_hid_dim or self.config.cross_attention_dim
        if not isinstance(width, int):
            return states.chunk(len(self.models), dim=-1)
        return parts(states, len(self.models), self.text_widths or (width,), "encoder_hidden_states")

    def added(self, conditions: Mapping[str, Tensor] | None) -> Sequence[Mapping[str, Tensor] | None]:
        """Each model's own added conditions: SDXL's ``time_ids`` are common, ``text_embeds`` are like the text states.

        Raises:
            UserError: the last axis of ``text_embeds`` is neither one model's wide nor N models'.
        """
        count = len(self.models)
        if conditions is None or self.config.addition_embed_type != "text_time":
            return [conditions] * count
        times = conditions["time_ids"].shape[-1] * self.config.addition_time_embed_dim
        width = self.config.projection_class_embeddings_input_dim - times
        own = parts(conditions["text_embeds"], count, (width,), "added_cond_kwargs: text_embeds")
        return [{**conditions, "text_embeds": embeds} for embeds in own]

    def each(
        self, sample: Tensor, timestep: Any, states: Tensor, *conditions: Any, count: int | None = None, **named: Any
    ) -> list[Tensor]:
        """Each model's own prediction ``(B, C, H, W)`` by its stock forward, with the arguments of a stock call.

        ``count``: of the first so many models alone.
        """
        added = self.added(named.pop("added_cond_kwargs", None))
        predictions = []
        for unet, text, own in list(zip(self.models, self.texts(states), added, strict=True))[:count]:
            lists = {key: list(named[key]) for key in ADAPTERS if named.get(key) is not None}  # the stock forward empties them
            given = {**named, **lists, "added_cond_kwargs": own, "return_dict": False}
            predictions.append(self.run(unet, sample, timestep, text, *conditions, **given)[0])
        return predictions


class BlockUNets(UNets):
    """N U-Nets which are seen as blocks. Arguments and errors are those of :class:`UNets`.

    Raises:
        UserError: the models have a part which is not supported; the message names it.
    """

    def __init__(self, unets: Sequence[Any], text_widths: Sequence[int] | None = None) -> None:
        super().__init__(unets, text_widths)
        self.views = [BlockView(unet) for unet in unets]

    def conditions(
        self, sample: Tensor, timestep: Any, states: Tensor, added: Mapping[str, Tensor] | None, **common: Any
    ) -> tuple[list[Condition], Tensor, Tensor]:
        """Each model's own reading of a stock call's inputs, and what an aggregator or a router is given of them.

        Args:
            sample, timestep, states, added: of the call; see :meth:`texts` and :meth:`added`.
            common: further arguments of :meth:`BlockView.condition`.

        Returns:
            the conditions, and the means over the models of their time embeddings ``(B, T)`` (after each model's MLP) and of
            their text states ``(B, L, D)``.
        """
        found = [
            view.condition(sample, timestep, text, added_cond_kwargs=own, **common)
            for view, text, own in zip(self.views, self.texts(states), self.added(added), strict=True)
        ]
        return found, average([own.temb for own in found]), average([own.text for own in found])


class EnsembleUNet(BlockUNets):
    """N U-Nets as one, block by block.

    The aggregator is given the mean over the models of their time embeddings (after each model's MLP) and of their text states.
    ControlNet's and T2I-Adapters' residuals are added after the aggregation.

    Args:
        unets: diffusers' ``UNet2DConditionModel`` of one configuration.
        aggregate: how a block's N outputs become one: a ``SABW``, :func:`mean`, or any callable of that signature.
        text_widths: see :class:`UNets`.

    Raises:
        UserError: the models differ in their configuration, or have a part which is not supported; the message names it.
    """

    def __init__(self, unets: Sequence[nn.Module], aggregate: Aggregate, text_widths: Sequence[int] | None = None) -> None:
        super().__init__(unets, text_widths)
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
        conditions, temb, text = self.conditions(
            hidden,
            timestep,
            encoder_hidden_states,
            added_cond_kwargs,
            class_labels=class_labels,
            timestep_cond=timestep_cond,
            attention_bias=_bias(attention_mask, sample),
            text_bias=_bias(encoder_attention_mask, sample),
            attention_kwargs=without_lora_scale(cross_attention_kwargs, "cross_attention_kwargs"),
        )
        if isinstance(self.aggregate, SABW):
            text = self.aggregate.context(text)
        adapters, controls = down_intrablock_additional_residuals, down_block_additional_residuals
        if mid_block_additional_residual is None:  # ControlNet always gives both; without the middle one they are an adapter's
            adapters, controls = adapters if adapters is not None else controls, None

        odd = any(side % 2 ** self.views[0].unet.num_upsamplers for side in sample.shape[-2:])
        skips: list[Tensor] = []
        for index, blocks in enumerate(zip(*self.views, strict=True)):
            block = blocks[0]
            skip = skips.pop() if block.pops else None
            size = (skips[-1].shape[2], skips[-1].shape[3]) if odd and block.pops and skips else None
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
        features = [self.run(own, hidden, condition, skip, size) for own, condition in zip(blocks, conditions, strict=True)]
        return self.run(self.aggregate, index, features, temb, text)  # type: ignore[no-any-return]


def _bias(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask of ones (keep) and zeros ``(B, K)`` as a bias on attention scores ``(B, 1, K)``, as the stock U-Net does it."""
    return None if mask is None else ((1 - mask.to(like.dtype)) * -10000.0).unsqueeze(1)


def _adapted(hidden: Tensor, index: int | None, residuals: Sequence[Tensor] | None, must_fit: bool) -> Tensor:
    """A block's output with its T2I-Adapter residual; the middle block (``must_fit`` false) takes one only of its own shape."""
    if residuals is None or index is None or index >= len(residuals):
        return hidden
    if not must_fit and residuals[index].shape != hidden.shape:
        return hidden
    return hidden + residuals[index]
