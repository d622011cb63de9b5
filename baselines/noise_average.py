"""The method ``noise-average``: the models run on their own, and their predictions are averaged (the paper, table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from afa_bench.method import Denoiser, Method, Model, Options

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class NoiseAverage(Method[Options]):
    """Noise averaging: every model runs on its own; the mean of their predictions."""

    name = "noise-average"
    version = 1

    @override
    def build(self, group: Group, models: Sequence[Model], options: Options) -> Denoiser:
        from afa_bench.ensembles.aggregator import Average
        from afa_bench.ensembles.build import build_ensemble

        ensemble = build_ensemble([model.unet for model in models], Average(last_only=True))
        return Denoiser(ensemble.eval(), [model.text_encoder for model in models])
