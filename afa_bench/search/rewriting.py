"""A merged model in memory whose blocks are rewritten one by one, always from the sources."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from torch import Tensor, nn

from afa_bench.architectures.alike import require_alike
from afa_bench.architectures.layout import BASE, Layout
from afa_bench.errors import UserError
from afa_bench.merging.core import merge_tensor, require_same_keys
from afa_bench.merging.forms import weighted
from afa_bench.merging.mbw import MBWSettings
from afa_bench.method import Denoiser, Model
from afa_bench.search.space import Row, Weights


class Rewriter:
    """One U-Net and text encoder whose weights are a block-weighted merge; the sources stay on their device, unchanged.

    Args:
        models: of one architecture.
        layout: which block each tensor of their U-Net is in.

    Raises:
        UserError: they differ in their architecture, or have a tensor that belongs to no block.
    """

    def __init__(self, models: Sequence[Model], layout: Layout) -> None:
        unets, encoders = [model.unet for model in models], [model.text_encoder for model in models]
        require_alike(unets)
        self.count = len(models)
        self.layout = layout
        self.denoiser = Denoiser(deepcopy(unets[0]), [_own(encoders)])
        self.rewritten = 0
        """Blocks that have been written so far, BASE and the time embedding included."""
        self._blocks: dict[str, list[tuple[str, Tensor, list[Tensor]]]] = {}
        self._rows: dict[str, Row] = {}
        for key, target, sources in _tensors(self.denoiser.unet, unets, [model.name for model in models]):
            link = self.layout.of_diffusers("unet", key)
            if link is None:
                raise UserError(f"search: {key} belongs to no block of {self.layout.name}")
            self._blocks.setdefault(link.block, []).append((key, target, sources))
        if self.denoiser.text_encoders[0] is not encoders[0]:
            named = _tensors(self.denoiser.text_encoders[0], encoders, [model.name for model in models])
            self._blocks.setdefault(BASE, []).extend(named)

    def write(self, weights: Weights) -> None:
        """Make the model the merge with these weights: the blocks whose row is another than now are written."""
        rows = [weights[block] for block in self.layout.blocks]
        wanted = MBWSettings(simplex=tuple(rows), base=weights[BASE]).weights(self.layout, self.count)
        for block, row in wanted.items():
            if self._rows.get(block) != row:
                for key, target, sources in self._blocks.get(block, ()):
                    target.copy_(merge_tensor(key, sources, weighted, {"weights": row}))
                self._rows[block] = row
                self.rewritten += 1

    @property
    def text_row(self) -> Row | None:
        """The row that the text encoder was merged with; None where all models share one, which is not merged."""
        return self._rows.get(BASE) if BASE in self._blocks else None


def _own(encoders: Sequence[nn.Module]) -> nn.Module:
    first = encoders[0]
    return first if all(encoder is first for encoder in encoders) else deepcopy(first)


def _tensors(target: nn.Module, sources: Sequence[nn.Module], names: Sequence[str]) -> list[tuple[str, Tensor, list[Tensor]]]:
    states = [source.state_dict() for source in sources]
    require_same_keys(states, names)
    return [(key, tensor, [state[key] for state in states]) for key, tensor in target.state_dict().items()]
