"""N denoisers of one architecture in the place of one, and what each of them is given of their common inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from afa_bench.architectures.alike import require_alike
from afa_bench.ensembles.aggregator import Aggregator, combine
from afa_bench.ensembles.stock import Stock
from afa_bench.errors import UserError

M = TypeVar("M", bound=nn.Module)

Streams: TypeAlias = tuple[Tensor, ...]
"""What a block hands on to the next: a U-Net's hidden state, or a transformer's image tokens and text tokens."""

Step: TypeAlias = Callable[..., Streams]
"""``(index of the block, *its inputs) -> its output``."""

Walk: TypeAlias = Callable[[Step], Streams]
"""Calls a step for each block in turn, with the inputs that follow from the outputs before, and returns the last one's output."""


class Ensemble(Stock):
    """Base of every ensemble: what can be set as a stock pipeline's ``unet`` or ``transformer``.

    Args:
        models: of one configuration.
        noun: what they are called in errors.

    Raises:
        UserError: the models differ; the message names the first difference.
    """

    gradient_checkpointing = False

    def __init__(self, models: Sequence[nn.Module], noun: str) -> None:
        super().__init__()
        require_alike(models, noun)
        self.models: Any = nn.ModuleList(models)

    def own_inputs(self, number: int, named: Mapping[str, Any]) -> dict[str, Any]:
        """Of a stock call's arguments those that carry N models' texts side by side, cut to one model's."""
        return {}

    def share_text(self, part: M, number: int = 0) -> M:
        """Let another part of a pipeline that hears the text, such as a ControlNet, hear one model's.

        Where the models have text encoders of their own, a pipeline's text states are N models' side by side, which is of no
        use to a part that was made for one.

        Args:
            part: whose calls are given that model's own states from now on.
            number: of the model.

        Returns:
            the part.
        """

        def own(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return args, {**named, **self.own_inputs(number, named)}

        part.register_forward_pre_hook(own, with_kwargs=True)
        return part

    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Any = None) -> None:
        """Compute what :meth:`run` calls again on the way back: of all the calls, one at a time keeps what its gradient needs."""
        self.gradient_checkpointing = True

    def disable_gradient_checkpointing(self) -> None:
        self.gradient_checkpointing = False

    def run(self, function: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        """``function(*inputs, **named)``: a block of one model, or an aggregation."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False, **named)
        return function(*inputs, **named)

    def aggregate(
        self,
        aggregator: Aggregator,
        walk: Walk,
        block: Step,
        last: int,
        temb: Tensor,
        text: Tensor,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """The prediction of all models: at every block their outputs become one, which is the next block's input.

        Args:
            aggregator: how; one with ``last_only`` lets each model walk alone to its own prediction.
            walk: through any of the models, which are alike.
            block: ``(number of the model, index of the block, *its inputs) -> its output``.
            last: index of the last block.
            temb, text: the means of the models' time embeddings ``(B, T)`` and text states ``(B, L, D)``.
            size: see :func:`combine`.
        """
        context, numbers = aggregator.context(text), range(len(self.models))

        def joined(index: int, outputs: Sequence[Streams]) -> Streams:
            features = [first if size is None else first.transpose(1, 2).unflatten(2, size) for first, *_ in outputs]
            return combine(aggregator.maps(index, features, temb, context), outputs, size)

        def step(index: int, *inputs: Any) -> Streams:
            outputs = [self.run(block, number, index, *inputs) for number in numbers]
            return self.run(joined, index, outputs)  # type: ignore[no-any-return]

        if not aggregator.last_only:
            return walk(step)[0]
        predictions = [walk(partial(self.run, block, number))[:1] for number in numbers]
        return self.run(joined, last, predictions)[0]  # type: ignore[no-any-return]


def own_states(states: Tensor, count: int, widths: Sequence[int], name: str) -> list[Tensor]:
    """Each model's own ``(..., D)`` of a pipeline's ``(..., count * D)``, or of its ``(..., D)``, one for all.

    Args:
        states: the models' states side by side on the last axis. With several widths, those of the first encoder of every model
            come first, then those of the second encoder, as SDXL's stock pipelines put them.
        count: number of models.
        widths: of one model's states, an entry an encoder; their sum is D.
        name: of the input, for the error.

    Raises:
        UserError: the last axis has another width.
    """
    width, found = sum(widths), states.shape[-1]
    if found == width:
        return [states] * count
    if found != count * width:
        raise UserError(f"{name}: last axis: {found}; expected {count} models' states of {width} side by side, or one for all")
    encoders = [states_of.chunk(count, dim=-1) for states_of in states.split([count * width for width in widths], dim=-1)]
    return [torch.cat(own, dim=-1) if len(own) > 1 else own[0].contiguous() for own in zip(*encoders, strict=True)]
