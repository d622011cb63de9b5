"""U-Nets of which a router picks one for each row of a batch: before every block, or once before the first.

The two halves of classifier-free guidance are rows like any others, so a prompt's two halves may go to two models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn
from typing_extensions import override

from afa_bench.architectures.unet_blocks import Size
from afa_bench.ensembles.aggregator import weighted_sum
from afa_bench.ensembles.base import Streams, Walk
from afa_bench.ensembles.unets import BlockUNets, Conditioning, UNets
from baselines.moe.router import Level, Router

Rows = Tensor | None
"""Indices ``(R,)`` of a batch's rows; None: all of them, in their order."""


def dispatch(weights: Tensor, run: Callable[[int, Rows], Tensor]) -> Tensor:
    """The outputs of the chosen models, each of which is run once, on its own rows.

    Args:
        weights: one-hot rows ``(B, N)``. While they have a gradient, every model runs on all rows and the outputs are summed by
            them (equation 16); else a model without a row does not run.
        run: a model's number and rows -> its output ``(R, ...)``.
    """
    if weights.requires_grad:
        outputs = [run(number, None) for number in range(weights.shape[1])]
        return weighted_sum(weights.view(*weights.shape, *(1,) * (outputs[0].dim() - 1)), outputs)
    experts = weights.argmax(dim=1)
    numbers = experts.unique().tolist()
    if len(numbers) == 1:
        return run(numbers[0], None)
    groups = [(experts == number).nonzero()[:, 0] for number in numbers]
    outputs = [run(number, rows) for number, rows in zip(numbers, groups, strict=True)]
    return torch.cat(outputs)[torch.cat(groups).argsort()]


class BlockMoEUNet(BlockUNets):
    """N U-Nets of which a router picks one before every block (block-level mixture of experts).

    Args:
        unets: of one configuration.
        router: one for each block.
        text_widths: see :class:`afa_bench.ensembles.unets.UNets`.
    """

    def __init__(self, unets: Sequence[nn.Module], router: Router, text_widths: Sequence[int] | None = None) -> None:
        super().__init__(unets, text_widths)
        self.router = router

    @override
    def join(self, walk: Walk, given: Conditioning) -> Tensor:
        def step(index: int, hidden: Tensor, skip: Tensor | None, size: Size) -> Streams:
            """The output of the chosen models' blocks; the router sees the block's input, on the way up with its skip."""
            seen = hidden if skip is None else torch.cat([hidden, skip], dim=1)
            weights = self.router(index, given.timestep, seen, given.temb, given.text)

            def run(number: int, rows: Rows) -> Tensor:
                inputs = hidden, given.own[number], skip
                mine = inputs if rows is None else select_rows(inputs, rows, len(hidden))
                return self.run(self.views[number][index], *mine, size)  # type: ignore[no-any-return]

            return (dispatch(weights, run),)

        return walk(step)[0]


class DenoiserMoEUNet(UNets):
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
        texts, added = self.own_texts(encoder_hidden_states), self.own_added(added_cond_kwargs)
        given = self.conditioning(sample, timestep, encoder_hidden_states, added_cond_kwargs, **common)
        weights = self.router(0, timestep, sample, given.temb, given.text)

        def run(number: int, rows: Rows) -> Tensor:
            inputs = sample, timestep, texts[number], {**common, **named, "added_cond_kwargs": added[number]}
            *mine, others = inputs if rows is None else select_rows(inputs, rows, len(sample))
            return self.prediction(number, *mine, **others)

        hidden = dispatch(weights, run)
        return UNet2DConditionOutput(sample=hidden) if return_dict else (hidden,)


def build_mixture(unets: Sequence[nn.Module], router: Router, level: Level) -> BlockMoEUNet | DenoiserMoEUNet:
    return (BlockMoEUNet if level == "block" else DenoiserMoEUNet)(unets, router)


def select_rows(value: Any, rows: Tensor, count: int) -> Any:
    """All tensors of ``count`` rows within a structure, cut to these rows."""
    if isinstance(value, Tensor):
        return value[rows] if value.dim() and len(value) == count else value
    if isinstance(value, Mapping):
        return {key: select_rows(item, rows, count) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(select_rows(item, rows, count) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: select_rows(getattr(value, field.name), rows, count) for field in fields(value)})
    return value
