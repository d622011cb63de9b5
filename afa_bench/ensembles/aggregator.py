"""How the outputs of N models' blocks become one: what an aggregator is, and the one that needs no training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override


class Aggregator(Protocol):
    """Weighs N models at each place of a block's output. Whatever has these members is one; who inherits has the defaults."""

    @property
    def last_only(self) -> bool:
        """Whether it weighs the models' predictions alone; up to there each model then goes its own way."""
        return False

    def require_fit(self, model: nn.Module, n_models: int) -> None:
        """Raise a UserError unless this can weigh ``n_models`` denoisers of this one's architecture."""
        return

    def context(self, text: Tensor) -> Tensor:
        """The text states ``(B, L, D)`` as :meth:`maps` takes them: prepared once for all blocks."""
        return text

    @abstractmethod
    def maps(self, index: int, features: Sequence[Tensor], temb: Tensor, context: Tensor) -> Tensor | None:
        """The models' weights at a block: ``(B, N, H, W)``, where all axes but N may be 1; None: the same for all models.

        Args:
            index: of the block in the denoiser.
            features: the models' outputs, N of ``(B, C, H, W)``.
            temb: the mean of the models' time embeddings, ``(B, T)``.
            context: of :meth:`context`, which was given the mean of the models' text states.
        """


@dataclass(frozen=True)
class Average(Aggregator):
    """All models count alike: block-wise averaging, or with ``last_only`` noise averaging (both in the paper's table 3)."""

    last_only: bool = False

    @override
    def maps(self, index: int, features: Sequence[Tensor], temb: Tensor, context: Tensor) -> None:
        return None


def combine(maps: Tensor | None, outputs: Sequence[Sequence[Tensor]], size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
    """N models' streams as one of each kind.

    Args:
        maps: the weights of the first stream at each place ``(B, N, H, W)``; None: all models count alike.
        outputs: of each model. The first stream is a map ``(B, C, H, W)``, or the tokens of one; the others are tokens without a
            place in it ``(B, L, C)`` and are weighted by each map's mean.
        size: height and width of the map, where the first stream is its tokens ``(B, H * W, C)``.
    """
    streams = list(zip(*outputs, strict=True))
    if maps is None:
        return tuple(average(stream) for stream in streams)
    places = (maps if size is None else maps.expand(-1, -1, *size)).flatten(2)
    first = weighted_sum(maps.unsqueeze(2) if size is None else places.unsqueeze(3), streams[0])
    return first, *(weighted_sum(places.mean(dim=2)[:, :, None, None], stream) for stream in streams[1:])


def average(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape."""
    first, *rest = tensors
    for tensor in rest:
        first = first + tensor
    return first / len(tensors) if rest else first


def weighted_sum(weights: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """The sum over N of ``weights[:, n] * tensors[n]``, in the tensors' number format."""
    first, *rest = weights.to(tensors[0].dtype).unbind(dim=1)
    total: Tensor = first * tensors[0]
    for weight, tensor in zip(rest, tensors[1:], strict=True):
        total = torch.addcmul(total, weight, tensor)
    return total
