"""N FLUX transformers as one, block by block (the paper, appendix J).

At every block all models get the same two streams. An aggregator looks at the image tokens, laid out as the map which they are,
and weighs them as it weighs a U-Net's features. The text stream is weighted by each map's mean over the image: the paper does not
say how, and text tokens have no place in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401 - whoever loads a pipeline looks for it in this module
from torch import Tensor, nn
from typing_extensions import override

from afa_bench.architectures.flux_blocks import FluxView, grid, residuals
from afa_bench.ensembles.aggregator import Aggregator, average
from afa_bench.ensembles.base import Ensemble, Step, Streams, own_states
from afa_bench.ensembles.saving import aggregator_of, described
from afa_bench.errors import UserError


class EnsembleFlux(Ensemble):
    """N FLUX transformers as one: what ``pipe.transformer`` of a stock FLUX pipeline can be set to.

    ``encoder_hidden_states`` ``(B, L, D)`` and ``pooled_projections`` are one for all models, or N models' own side by side on
    the last axis. The rotary embedding is one for all.

    Args:
        transformers: diffusers' ``FluxTransformer2DModel`` of one configuration.
        aggregator: how a block's N outputs become one.

    Raises:
        UserError: the models differ, are of another class, or are not those that the aggregator was made for.
    """

    stands_for = ("FluxTransformer2DModel",)

    def __init__(self, transformers: Sequence[nn.Module], aggregator: Aggregator) -> None:
        super().__init__(transformers, "FLUX")
        self.views = [FluxView(transformer) for transformer in transformers]
        aggregator.require_fit(transformers[0], len(transformers))
        self.aggregator = aggregator

    def own_texts(self, states: Tensor) -> Sequence[Tensor]:
        """Each model's own text states ``(B, L, D)``.

        Raises:
            UserError: the last axis is neither one model's states wide nor N models'.
        """
        return own_states(states, len(self.models), (self.config.joint_attention_dim,), "encoder_hidden_states")

    def own_pooled(self, states: Tensor) -> Sequence[Tensor]:
        """Each model's own pooled text ``(B, P)``; errors as :meth:`own_texts`'."""
        return own_states(states, len(self.models), (self.config.pooled_projection_dim,), "pooled_projections")

    @override
    def own_inputs(self, number: int, named: Mapping[str, Any]) -> dict[str, Any]:
        cuts = {"encoder_hidden_states": self.own_texts, "pooled_projections": self.own_pooled}
        return {name: cut(named[name])[number] for name, cut in cuts.items() if named.get(name) is not None}

    @override
    def bypassed(self) -> Iterator[tuple[str, nn.Module]]:
        return ((f"models.{number}", model) for number, model in enumerate(self.models))

    @override
    def about(self) -> dict[str, Any]:
        return {"aggregator": described(self.aggregator)}

    @classmethod
    @override
    def made(cls, models: Sequence[nn.Module], about: Mapping[str, Any]) -> EnsembleFlux:
        return cls(models, aggregator_of(about))

    def _load_ip_adapter_weights(self, *args: Any, **named: Any) -> None:
        raise UserError("FLUX: IP-Adapters are not supported")

    def cache_context(self, name: str) -> AbstractContextManager[None]:
        """A stock pipeline names the passes of a step for caches of features; this has none."""
        return nullcontext()

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        timestep: Tensor,
        img_ids: Tensor,
        txt_ids: Tensor,
        guidance: Tensor | None = None,
        joint_attention_kwargs: Mapping[str, Any] | None = None,
        controlnet_block_samples: Sequence[Tensor] | None = None,
        controlnet_single_block_samples: Sequence[Tensor] | None = None,
        return_dict: bool = True,
        controlnet_blocks_repeat: bool = False,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """The ensemble's prediction for ``hidden_states`` ``(B, P, C)``: arguments and result as those of the stock model.

        Raises:
            UserError: an IP-Adapter or a LoRA scale, text states of another width, or tokens that are not one image.
        """
        if joint_attention_kwargs is not None and "ip_adapter_image_embeds" in joint_attention_kwargs:
            raise UserError("joint_attention_kwargs: ip_adapter_image_embeds: IP-Adapters are not supported")
        self.refuse_unreached_hooks()
        first = self.models[0]
        img_ids, txt_ids = (ids[0] if ids.ndim == 3 else ids for ids in (img_ids, txt_ids))
        rotary = first.pos_embed(torch.cat([txt_ids, img_ids]))
        pooled = self.own_pooled(pooled_projections)
        texts = self.own_texts(encoder_hidden_states)
        controls = residuals(
            len(first.transformer_blocks),
            len(first.single_transformer_blocks),
            controlnet_block_samples,
            controlnet_single_block_samples,
            controlnet_blocks_repeat,
        )

        def walk(step: Step) -> Streams:
            streams: tuple[Any, Any] = (hidden_states, None)
            for index, control in enumerate(controls):
                streams = step(index, *streams, control)  # type: ignore[assignment]
            return streams

        def block(number: int, index: int, image: Tensor, text: Tensor | None, control: Tensor | None) -> Streams:
            return self.views[number][index](image, texts[number] if text is None else text, own[number], control)  # type: ignore[no-any-return]

        with self.lora_scaled(joint_attention_kwargs) as kwargs:
            own = [view.condition(timestep, guidance, its, rotary, kwargs) for view, its in zip(self.views, pooled, strict=True)]
            temb, text = average([one.temb for one in own]), average(texts)
            hidden = self.aggregate(self.aggregator, walk, block, len(controls) - 1, temb, text, grid(img_ids))
        return Transformer2DModelOutput(sample=hidden) if return_dict else (hidden,)
