"""N U-Nets as one, block by block (the paper, section 3.2, equations 2-4).

At every block all models get the same hidden state and the same skip, and their outputs are aggregated into one, which is the
next block's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from diffusers.models.modeling_utils import ModelMixin  # noqa: F401 - whoever loads a pipeline looks for it in this module
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn
from typing_extensions import override

from afa_bench.architectures.unet_blocks import BlockView, Condition
from afa_bench.ensembles.aggregator import Aggregator, average
from afa_bench.ensembles.base import Ensemble, Step, Streams, Walk, own_states
from afa_bench.ensembles.saving import aggregator_of, described
from afa_bench.ensembles.stock import each, of_first
from afa_bench.errors import UserError

ADAPTERS = ("down_intrablock_additional_residuals", "down_block_additional_residuals")


@dataclass(frozen=True)
class Conditioning:
    """What N U-Nets make of a call's inputs beside the sample.

    Attributes:
        timestep: as it came.
        own: each model's.
        temb, text: the means over the models of their time embeddings ``(B, T)``, after each model's MLP, and of their text
            states ``(B, L, D)``.
    """

    timestep: Tensor | float | int
    own: Sequence[Condition]
    temb: Tensor
    text: Tensor


class UNets(Ensemble):
    """N U-Nets of one architecture in the place of one: what ``pipe.unet`` of a stock diffusers pipeline can be set to.

    A subclass says how they become one. ``encoder_hidden_states`` carries the N models' text states side by side on
    its last axis, ``(B, L, N * D)``, in the order of ``unets``, or one model's ``(B, L, D)`` for all of them; so does SDXL's
    ``text_embeds``. All other inputs are common to all.

    Args:
        unets: diffusers' ``UNet2DConditionModel`` of one configuration.
        text_widths: of the text encoders of one model, where there are several whose states do not come model by model but
            encoder by encoder (see :func:`afa_bench.ensembles.base.own_states`).

    Raises:
        UserError: other models, or models that differ; the message names the first difference.
    """

    stands_for = ("UNet2DConditionModel",)

    def __init__(self, unets: Sequence[nn.Module], text_widths: Sequence[int] | None = None) -> None:
        if not hasattr(unets[0], "down_blocks"):
            raise UserError(f"U-Nets: {type(unets[0]).__name__} is not supported; expected UNet2DConditionModel")
        super().__init__(unets, "U-Nets")
        self.text_widths = text_widths

    @cached_property
    def views(self) -> Sequence[BlockView]:
        """The models as blocks.

        Raises:
            UserError: they have a part which is not supported; the message names it.
        """
        return [BlockView(unet) for unet in self.models]

    add_embedding = of_first("add_embedding")
    down_blocks = of_first("down_blocks")
    up_blocks = of_first("up_blocks")
    enable_freeu = each("enable_freeu")
    disable_freeu = each("disable_freeu")
    set_attention_slice = each("set_attention_slice")
    set_default_attn_processor = each("set_default_attn_processor")
    load_attn_procs = each("load_attn_procs")
    _load_ip_adapter_weights = each("_load_ip_adapter_weights")
    _load_ip_adapter_loras = each("_load_ip_adapter_loras")

    @property
    def encoder_hid_proj(self) -> Any:
        """What projects the IP-Adapters' images, of the first model."""
        return self.models[0].encoder_hid_proj

    @encoder_hid_proj.setter
    def encoder_hid_proj(self, value: None) -> None:
        """Without it no model's configuration speaks of it; a pipeline that unloads its IP-Adapters sees to the first one's."""
        for unet in self.models:
            unet.encoder_hid_proj = unet.config.encoder_hid_dim_type = value

    def own_texts(self, states: Tensor) -> Sequence[Tensor]:
        """Each model's own text states ``(B, L, D)``.

        Raises:
            UserError: the last axis is neither one model's states wide nor N models'.
        """
        width = self.config.encoder_hid_dim or self.config.cross_attention_dim
        if not isinstance(width, int):
            return states.chunk(len(self.models), dim=-1)
        return own_states(states, len(self.models), self.text_widths or (width,), "encoder_hidden_states")

    def own_added(self, conditions: Mapping[str, Tensor] | None) -> Sequence[Mapping[str, Tensor] | None]:
        """Each model's own added conditions: SDXL's ``time_ids`` are common, ``text_embeds`` are like the text states.

        Raises:
            UserError: the last axis of ``text_embeds`` is neither one model's wide nor N models'.
        """
        count = len(self.models)
        if conditions is None or self.config.addition_embed_type != "text_time":
            return [conditions] * count
        times = conditions["time_ids"].shape[-1] * self.config.addition_time_embed_dim
        width = self.config.projection_class_embeddings_input_dim - times
        own = own_states(conditions["text_embeds"], count, (width,), "added_cond_kwargs: text_embeds")
        return [{**conditions, "text_embeds": embeds} for embeds in own]

    @override
    def own_inputs(self, number: int, named: Mapping[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        if (states := named.get("encoder_hidden_states")) is not None:
            own["encoder_hidden_states"] = self.own_texts(states)[number]
        if (added := named.get("added_cond_kwargs")) is not None:
            own["added_cond_kwargs"] = self.own_added(added)[number]
        return own

    def conditioning(
        self, sample: Tensor, timestep: Any, states: Tensor, added: Mapping[str, Tensor] | None, **common: Any
    ) -> Conditioning:
        """Each model's own reading of a stock call's inputs; ``common`` are further arguments of :meth:`BlockView.condition`."""
        own = [
            view.condition(sample, timestep, text, added_cond_kwargs=its_added, **common)
            for view, text, its_added in zip(self.views, self.own_texts(states), self.own_added(added), strict=True)
        ]
        return Conditioning(timestep, own, average([one.temb for one in own]), average([one.states for one in own]))

    def prediction(self, number: int, sample: Tensor, timestep: Any, text: Tensor, *conditions: Any, **named: Any) -> Tensor:
        """What one model predicts ``(B, C, H, W)``: its stock forward, with the arguments of a stock call and its own states."""
        lists = {key: list(named[key]) for key in ADAPTERS if named.get(key) is not None}  # the stock forward empties them
        given = {**named, **lists, "return_dict": False}
        return self.run(self.models[number], sample, timestep, text, *conditions, **given)[0]  # type: ignore[no-any-return]


class BlockUNets(UNets):
    """N U-Nets which run block by block. A subclass says how their outputs become one (:meth:`join`).

    Arguments and errors are those of :class:`UNets`; a part of the models that is not supported is an error too.
    """

    def __init__(self, unets: Sequence[nn.Module], text_widths: Sequence[int] | None = None) -> None:
        super().__init__(unets, text_widths)
        self.last = len(self.views[0]) - 1

    @override
    def bypassed(self) -> Iterator[tuple[str, nn.Module]]:
        for number, unet in enumerate(self.models):
            yield f"models.{number}", unet
            for name in ("down_blocks", "up_blocks"):
                yield from ((f"models.{number}.{name}.{index}", level) for index, level in enumerate(getattr(unet, name)))

    def join(self, walk: Walk, given: Conditioning) -> Tensor:
        """The prediction ``(B, C, H, W)`` of all models.

        Args:
            walk: through any of them: its steps take ``hidden, skip, size``, see :class:`Block`.
            given: to their blocks.
        """
        raise NotImplementedError

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
        """The prediction for ``sample`` ``(B, C, H, W)``: arguments and result as those of the stock U-Net.

        ControlNet's and T2I-Adapters' residuals are added after a block's outputs have become one.
        """
        self.refuse_unreached_hooks()
        hidden = 2 * sample - 1.0 if self.config.center_input_sample else sample
        adapters, controls = down_intrablock_additional_residuals, down_block_additional_residuals
        if mid_block_additional_residual is None:  # ControlNet always gives both; without the middle one they are an adapter's
            adapters, controls = adapters if adapters is not None else controls, None
        with self.lora_scaled(cross_attention_kwargs) as attention_kwargs:
            given = self.conditioning(
                hidden,
                timestep,
                encoder_hidden_states,
                added_cond_kwargs,
                class_labels=class_labels,
                timestep_cond=timestep_cond,
                attention_bias=_bias(attention_mask, sample),
                text_bias=_bias(encoder_attention_mask, sample),
                attention_kwargs=attention_kwargs,
            )
            hidden = self.join(partial(self._walk, hidden, adapters, controls, mid_block_additional_residual), given)
        return UNet2DConditionOutput(sample=hidden) if return_dict else (hidden,)

    def _walk(
        self,
        hidden: Tensor,
        adapters: Sequence[Tensor] | None,
        controls: Sequence[Tensor] | None,
        middle: Tensor | None,
        step: Step,
    ) -> Streams:
        """The blocks in their order, as the stock forward runs them; see :data:`Walk`."""
        odd = any(side % 2 ** self.models[0].num_upsamplers for side in hidden.shape[-2:])
        skips: list[Tensor] = []
        for index, block in enumerate(self.views[0]):
            skip = skips.pop() if block.pops else None
            size = (skips[-1].shape[2], skips[-1].shape[3]) if odd and block.pops and skips else None
            (hidden,) = step(index, hidden, skip, size)
            hidden = _adapted(hidden, block.adapter, adapters, must_fit=block.pushes)
            if block.pushes:
                skips.append(hidden)
            elif not block.pops and middle is not None and controls is not None:
                skips = [skip + control for skip, control in zip(skips, controls, strict=True)]
                hidden = hidden + middle
        return (hidden,)


class EnsembleUNet(BlockUNets):
    """N U-Nets as one, block by block.

    Args:
        unets: diffusers' ``UNet2DConditionModel`` of one configuration.
        aggregator: how a block's N outputs become one.
        text_widths: see :class:`UNets`.

    Raises:
        UserError: the models differ, have a part which is not supported, or are not those that the aggregator was made for.
    """

    def __init__(self, unets: Sequence[nn.Module], aggregator: Aggregator, text_widths: Sequence[int] | None = None) -> None:
        super().__init__(unets, text_widths)
        aggregator.require_fit(unets[0], len(unets))
        self.aggregator = aggregator

    @override
    def about(self) -> dict[str, Any]:
        return {"aggregator": described(self.aggregator), "text_widths": self.text_widths}

    @classmethod
    @override
    def made(cls, models: Sequence[nn.Module], about: Mapping[str, Any]) -> EnsembleUNet:
        return cls(models, aggregator_of(about), about.get("text_widths"))

    @override
    def join(self, walk: Walk, given: Conditioning) -> Tensor:
        def block(number: int, index: int, *inputs: Any) -> Streams:
            hidden, skip, size = inputs
            return (self.views[number][index](hidden, given.own[number], skip, size),)

        return self.aggregate(self.aggregator, walk, block, self.last, given.temb, given.text)


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
