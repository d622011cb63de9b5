"""N denoisers of one architecture in the place of one, and what each of them is given of their common inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from afa_bench.errors import UserError

ADAPTERS = ("down_intrablock_additional_residuals", "down_block_additional_residuals")


class Several(nn.Module):
    """Base of every ensemble: what ``pipe.unet`` or ``pipe.transformer`` of a stock pipeline is asked for beside its forward."""

    gradient_checkpointing = False

    @property
    def models(self) -> Sequence[Any]:
        """The models, in their order."""
        raise NotImplementedError

    @property
    def config(self) -> Any:
        """The configuration of the first model; the others are alike."""
        return self.models[0].config

    @property
    def dtype(self) -> torch.dtype:
        """The models' number format."""
        return self.models[0].dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        """Where the models are."""
        return self.models[0].device  # type: ignore[no-any-return]

    def enable_gradient_checkpointing(self) -> None:
        """Compute what :meth:`run` calls again on the way back: of all the calls, one at a time keeps what its gradient needs."""
        self.gradient_checkpointing = True

    def run(self, function: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        """``function(*inputs, **named)``: a block of one model, or an aggregation."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False, **named)
        return function(*inputs, **named)


def average(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape."""
    first, *rest = tensors
    for tensor in rest:
        first = first + tensor
    return first / len(tensors) if rest else first


def parts(states: Tensor, count: int, widths: Sequence[int], name: str) -> list[Tensor]:
    """Each model's own part ``(..., D)`` of a pipeline's ``(..., count * D)``, or of its ``(..., D)``, one for all.

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
    pieces = [piece.chunk(count, dim=-1) for piece in states.split([count * width for width in widths], dim=-1)]
    return [torch.cat(own, dim=-1) if len(own) > 1 else own[0].contiguous() for own in zip(*pieces, strict=True)]


def without_lora_scale(kwargs: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    """Keyword arguments of attention processors without the LoRA scale, which has to be 1.

    Raises:
        UserError: it is not.
    """
    if kwargs is None:
        return None
    if kwargs.get("scale", 1.0) != 1.0:
        raise UserError(f"{name}: scale: a LoRA scale is not supported; fuse the LoRA into its model first")
    return {key: value for key, value in kwargs.items() if key != "scale"}
