"""From models and an aggregator to the ensemble that their architecture has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from afa_bench.architectures.find import view_of
from afa_bench.architectures.flux_blocks import FluxView
from afa_bench.ensembles.aggregator import Aggregator
from afa_bench.ensembles.base import Ensemble
from afa_bench.ensembles.flux import EnsembleFlux
from afa_bench.ensembles.unets import EnsembleUNet


def build_ensemble(models: Sequence[nn.Module], aggregator: Aggregator, text_widths: Sequence[int] | None = None) -> Ensemble:
    """Denoisers behind an aggregator, which is brought to their device and number format if it is a module.

    Args:
        models: of one architecture.
        aggregator: made for them.
        text_widths: of the text encoders of one model, see :class:`afa_bench.ensembles.unets.UNets`.

    Raises:
        UserError: models which differ or are not supported, or which the aggregator was not made for.
    """
    if isinstance(view_of(models[0]), FluxView):
        ensemble: Ensemble = EnsembleFlux(models, aggregator)
    else:
        ensemble = EnsembleUNet(models, aggregator, text_widths)
    if isinstance(aggregator, nn.Module):
        # diffusers' own `to` warns of parts that stay in fp32, of which there are none
        nn.Module.to(aggregator, device=ensemble.device, dtype=ensemble.dtype)
    return ensemble
