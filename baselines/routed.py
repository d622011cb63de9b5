"""U-Nets of which a router picks one for each row of a batch: before every block, or once before the first.

The two halves of classifier-free guidance are rows like any others, so a prompt's two halves may go to two models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from afa_bench.afa.sabw import weighted
from afa_bench.architectures.unet_blocks import Block, Condition, Size
from afa_bench.ensembles.base import ADAPTERS
from afa_bench.ensembles.unets import BlockUNets, EnsembleUNet, mean
from baselines.router import Router

Rows = Tensor | None
"""Indices ``(R,)`` of a batch's rows; None: all of them, in their order."""


def dispatched(weights: Tensor, run: Callable[[int, Rows], Tensor]) -> Tensor:
    """The outputs of the chosen models, each of which is run once, on its own rows.

    Args:
        weights: one-hot rows ``(B, N)``. While they have a gradient, every model runs on all rows and the outputs are summed by
            them (equation 16); else a model without a row does not run.
        run: a model's number and rows -> its output ``(R, ...)``.
    """
    if weights.requires_grad:
        outputs = [run(number, None) for number in range(weights.shape[1])]
        return weighted(weights.view(*weights.shape, *(1,) * (outputs[0].dim() - 1)), outputs)
    experts = weights.argmax(dim=1)
    numbers = experts.unique().tolist()
    if len(numbers) == 1:
        return run(numbers[0], None)
    groups = [(experts == number).nonzero()[:, 0] for number in numbers]
    parts = [run(number, rows) for number, rows in zip(numbers, groups, strict=True)]
    return torch.cat(parts)[torch.cat(groups).argsort()]


class BlockMoEUNet(EnsembleUNet):
    """N U-Nets of which a router picks one before every block (block-level mixture of experts).

    Args:
        unets: of one configuration.
        router: one for each block.
        text_widths: see :class:`afa_bench.ensembles.unets.UNets`.
    """

    def __init__(self, unets: Sequence[nn.Module], router: Router, text_widths: Sequence[int] | None = None) -> None:
        super().__init__(unets, mean, text_widths)
        self.router = router
        self._timestep: Tensor | float | int = 0

    def forward(self, sample: Tensor, timestep: Tensor | float | int, *args: Any, **named: Any) -> Any:
        """The prediction for ``sample`` ``(B, C, H, W)``: arguments and result as those of the stock U-Net."""
        self._timestep = timestep
        return super().forward(sample, timestep, *args, **named)

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
        """The output of the chosen models' blocks; the router sees the block's input, on the way up with its skip."""
        seen = hidden if skip is None else torch.cat([hidden, skip], dim=1)
        weights = self.router(index, self._timestep, seen, temb, text)

        def run(number: int, rows: Rows) -> Tensor:
            condition = conditions[number]
            given = hidden, condition, skip
            if rows is not None:
                own = {field.name: getattr(condition, field.name) for field in fields(condition)}
                given = hidden[rows], Condition(**of_rows(own, rows, len(hidden))), of_rows(skip, rows, len(hidden))
            return self.run(blocks[number], *given, size)  # type: ignore[no-any-return]

        return dispatched(weights, run)


class DenoiserMoEUNet(BlockUNets):
    """N U-Nets of which a router picks one before the first block (denoiser-level mixture of experts).

    Args:
        unets: of one configuration.
        router: with one block.
        text_widths: see :class:`afa_bench.ensembles.unets.UNets`.
    """

    def __init__(self, unets: Sequence[nn.Module], router: Router, text_widths: Sequence[int] | None = None) -> None:
        super().__init__(unets, text_widths)
        self.router = router

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None = None,
        timestep_cond: Tensor | None = None,
        *,
        added_cond_kwargs: Mapping[str, Tensor] | None = None,
        return_dict: bool = True,
        **named: Any,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """The prediction for ``sample`` ``(B, C, H, W)``: arguments and result as those of the stock U-Net."""
        common: dict[str, Any] = {"class_labels": class_labels, "timestep_cond": timestep_cond}
        texts, added = self.texts(encoder_hidden_states), self.added(added_cond_kwargs)
        _, temb, text = self.conditions(sample, timestep, encoder_hidden_states, added_cond_kwargs, **common)
        weights = self.router(0, timestep, sample, temb, text)

        def run(number: int, rows: Rows) -> Tensor:
            lists = {key: list(named[key]) for key in ADAPTERS if named.get(key) is not None}  # the stock forward empties them
            more = {**common, **named, **lists, "added_cond_kwargs": added[number]}
            given = sample, timestep, texts[number], more
            one, time, states, others = given if rows is None else of_rows(given, rows, len(sample))
            return self.run(self.unets[number], one, time, states, return_dict=False, **others)[0]  # type: ignore[no-any-return]

        hidden = dispatched(weights, run)
        return UNet2DConditionOutput(sample=hidden) if return_dict else (hidden,)


def of_rows(value: Any, rows: Tensor, count: int) -> Any:
    """All tensors of ``count`` rows within a structure, cut to these rows."""
    if isinstance(value, Tensor):
        return value[rows] if value.dim() and len(value) == count else value
    if isinstance(value, Mapping):
        return {key: of_rows(item, rows, count) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(of_rows(item, rows, count) for item in value)
    return value
