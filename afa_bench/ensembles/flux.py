"""Several FLUX transformers as one, block by block (the paper, appendix J).

At every block all models get the same two streams. SABW looks at the image tokens, laid out as the map which they are, and
weighs them as it weighs a U-Net's features. The text stream is weighted by each map's mean over the image: the paper does not say
how, and text tokens have no place in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn

from afa_bench.afa.sabw import SABW, weighted
from afa_bench.architectures.alike import require_alike
from afa_bench.architectures.flux_blocks import FluxCondition, FluxView, grid, residuals
from afa_bench.ensembles.base import Several, average, parts, without_lora_scale
from afa_bench.errors import UserError


class EnsembleFlux(Several):
    """N FLUX transformers as one: what ``pipe.transformer`` of a stock FLUX pipeline can be set to.

    ``encoder_hidden_states`` ``(B, L, D)`` and ``pooled_projections`` are one for all models, or N models' own side by side on
    the last axis. The rotary embedding is one for all.

    Args:
        transformers: diffusers' ``FluxTransformer2DModel`` of one configuration.
        sabw: how a block's N outputs become one; None: their mean. One that was made with ``last_only`` weighs the models'
            predictions, and each model has streams of its own up to there.

    Raises:
        UserError: the models differ; the message names the first difference.
    """

    def __init__(self, transformers: Sequence[nn.Module], sabw: SABW | None = None) -> None:
        super().__init__()
        require_alike(transformers, "FLUX")
        self.transformers = nn.ModuleList(transformers)
        self.views = [FluxView(transformer) for transformer in transformers]
        self.aggregate = sabw

    @property
    def models(self) -> Sequence[Any]:
        """The transformers, in their order."""
        return self.transformers  # type: ignore[return-value]

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
        first = self.views[0].transformer
        img_ids, txt_ids = (ids[0] if ids.ndim == 3 else ids for ids in (img_ids, txt_ids))
        rotary = first.pos_embed(torch.cat([txt_ids, img_ids]))
        kwargs = without_lora_scale(joint_attention_kwargs, "joint_attention_kwargs")
        config, count = self.config, len(self.views)
        pooled = parts(pooled_projections, count, (config.pooled_projection_dim,), "pooled_projections")
        texts = parts(encoder_hidden_states, count, (config.joint_attention_dim,), "encoder_hidden_states")
        conditions = [
            view.condition(timestep, guidance, own, rotary, kwargs) for view, own in zip(self.views, pooled, strict=True)
        ]
        dealt = residuals(
            len(first.transformer_blocks),
            len(first.single_transformer_blocks),
            controlnet_block_samples,
            controlnet_single_block_samples,
            controlnet_blocks_repeat,
        )
        hidden = self._blocks(hidden_states, texts, conditions, dealt, grid(img_ids))
        return Transformer2DModelOutput(sample=hidden) if return_dict else (hidden,)

    def _blocks(
        self,
        hidden: Tensor,
        texts: Sequence[Tensor],
        conditions: Sequence[FluxCondition],
        dealt: Sequence[Tensor | None],
        size: tuple[int, int],
    ) -> Tensor:
        """Latents ``(B, P, C)`` and each model's text states to the prediction ``(B, P, C)``."""
        sabw = self.aggregate
        temb = average([condition.temb for condition in conditions])
        context = average(texts) if sabw is None else sabw.context(average(texts))
        images = [hidden] * len(conditions)
        last = len(self.views[0]) - 1
        for index, (blocks, residual) in enumerate(zip(zip(*self.views, strict=True), dealt, strict=True)):
            streams = [
                self.run(own, image, text, condition, residual)
                for own, image, text, condition in zip(blocks, images, texts, conditions, strict=True)
            ]
            images, texts = [image for image, _ in streams], [text for _, text in streams]
            if index == last or sabw is None or not sabw.config.last_only:
                image, text = self.run(_fused, sabw, index, images, texts, temb, context, size)
                images, texts = [image] * len(images), [text] * len(texts)
        return images[0]


def _fused(
    sabw: SABW | None,
    index: int,
    images: Sequence[Tensor],
    texts: Sequence[Tensor],
    temb: Tensor,
    context: Tensor,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """N image streams ``(B, P, C)`` and N text streams ``(B, L, C)`` to one of each."""
    if sabw is None:
        return average(images), average(texts)
    features = [image.transpose(1, 2).unflatten(2, size) for image in images]
    maps = sabw.maps(index, features, temb, context).flatten(2)
    return weighted(maps.unsqueeze(3), images), weighted(maps.mean(dim=2)[:, :, None, None], texts)
