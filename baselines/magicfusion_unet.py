"""The arithmetic of MagicFusion, and the U-Nets behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn
from torch.nn import functional

from afa_bench.ensembles.unets import UNets
from afa_bench.errors import UserError

Reference: TypeAlias = Literal["own", "first"]
"""Whose unconditional prediction a model's conditional one is compared with."""


class MagicFusionUNet(UNets):
    """N U-Nets whose guided predictions are fused pixel by pixel.

    Called with both halves of classifier-free guidance, the unconditional rows first, as every stock pipeline does. It gives the
    fused guided prediction e for both halves: the pipeline's formula u + s (c - u) turns e and e into e.

    Args:
        unets: of one configuration.
        k: a temperature of each model.
        ref, at_most, above: see ``MagicFusionOptions``.
    """

    def __init__(
        self,
        unets: Sequence[nn.Module],
        k: Sequence[float],
        ref: Reference = "own",
        at_most: int | None = None,
        above: int | None = None,
    ) -> None:
        super().__init__(unets)
        self.k, self.ref = tuple(k), ref
        self.at_most, self.above = at_most, above
        self.scale: float | None = None
        self._record: dict[int, list[Tensor]] | None = None

    def guide(self, scale: float) -> None:
        """Set the guidance scale, which the saliency depends on.

        Raises:
            UserError: a scale at which no guidance takes place.
        """
        if scale <= 1:
            raise UserError(f"magicfusion: needs guidance above 1: without it there is one prediction, not two; found {scale:g}")
        self.scale = scale

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        *conditions: Any,
        return_dict: bool = True,
        **named: Any,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """The fused prediction, twice, for ``sample`` ``(2B, C, H, W)``: arguments and result as those of the stock U-Net.

        Raises:
            UserError: no guidance scale has been set, or the rows do not come in two halves.
        """
        if self.scale is None or len(sample) % 2:
            raise UserError("magicfusion: needs guidance: both halves of a batch and their scale; found one prediction alone")
        step = int(torch.as_tensor(timestep).flatten()[0])
        fused = (self.at_most is None or step <= self.at_most) and (self.above is None or step > self.above)
        texts, added = self.own_texts(encoder_hidden_states), self.own_added(named.pop("added_cond_kwargs", None))
        halves = [
            self.prediction(number, sample, timestep, texts[number], *conditions, added_cond_kwargs=added[number], **named)
            for number in range(len(self.models) if fused else 1)
        ]
        if fused:
            prediction, winner = fuse(halves, self.scale, self.k, self.ref)
            self._count(step, winner)
            hidden = torch.cat([prediction, prediction])
        else:
            hidden = halves[0]
        return UNet2DConditionOutput(sample=hidden) if return_dict else (hidden,)

    @contextmanager
    def record(self) -> Iterator[dict[int, list[Tensor]]]:
        """Within it, keep the shares of pixels won: timestep -> ``(B, N)`` a call, whose rows sum to 1."""
        self._record = {}
        try:
            yield self._record
        finally:
            self._record = None

    def _count(self, step: int, winner: Tensor) -> None:
        if self._record is not None:
            won = functional.one_hot(winner.flatten(1), len(self.models)).double().mean(1)
            self._record.setdefault(step, []).append(won.cpu())


def fuse(halves: Sequence[Tensor], scale: float, k: Sequence[float], ref: Reference = "own") -> tuple[Tensor, Tensor]:
    """The fused prediction under guidance, and who won each pixel.

    Args:
        halves: of each model the unconditional predictions followed by the conditional ones, ``(2B, C, H, W)``.
        scale: of the guidance.
        k: a temperature of each model.
        ref: see ``MagicFusionOptions``.

    Returns:
        ``(B, C, H, W)``, and the index of the winner ``(B, H, W)``; of equals the first wins.
    """
    split = [half.chunk(2) for half in halves]
    guided = torch.stack([nothing + scale * (text - nothing) for nothing, text in split])
    references = [split[0][0] if ref == "first" else nothing for nothing, _ in split]
    saliencies = [(scale * (text - against)).abs() for (_, text), against in zip(split, references, strict=True)]
    shares = torch.stack([_share(kn * smooth(saliency)) for kn, saliency in zip(k, saliencies, strict=True)])
    winner = first_largest(shares)
    chosen = winner[None, :, None].expand(1, -1, guided.shape[2], -1, -1)
    return guided.gather(0, chosen)[0], winner


def smooth(saliency: Tensor) -> Tensor:
    """Means over 4 x 4 pixels, brought back to size, averaged over channels: ``(B, C, H, W)`` to ``(B, H, W)`` in fp32."""
    means = functional.avg_pool2d(saliency.float(), kernel_size=4, stride=1, padding=1)
    return functional.interpolate(means, size=saliency.shape[-2:], mode="bilinear").mean(1)


def first_largest(values: Tensor) -> Tensor:
    """The index along the first axis of the largest value, the first of equals (``argmax`` promises no order)."""
    best, index = values[0], torch.zeros_like(values[0], dtype=torch.long)
    for number, value in enumerate(values[1:], start=1):
        better = value > best
        best, index = torch.where(better, value, best), index.masked_fill(better, number)
    return index


def _share(saliency: Tensor) -> Tensor:
    """Softmax over all pixels of ``(B, H, W)``."""
    return saliency.flatten(1).softmax(dim=1).view_as(saliency)
