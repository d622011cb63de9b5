"""The method ``block-average``: the models' features are averaged at every block (the paper, table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from afa_bench.method import Denoiser, Method, Model, Options

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class BlockAverage(Method[Options]):
    """Block-wise averaging: AFA with every weight 1/N, in place of what SABW would say."""

    name = "block-average"
    version = 1

    @override
    def build(self, group: Group, models: Sequence[Model], options: Options) -> Denoiser:
        from afa_bench.ensembles.aggregator import Average
        from afa_bench.ensembles.build import build_ensemble

        ensemble = build_ensemble([model.unet for model in models], Average())
        return Denoiser(ensemble.eval(), [model.text_encoder for model in models])
