"""Ensembles without training: the mean of the models' noises, and of their features at every block (the paper, table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afa_bench.method import Denoiser, Method, Model, Options

if TYPE_CHECKING:
    from torch import nn

    from afa_bench.models.group import Group


class BlockAverage(Method[Options]):
    """Block-wise averaging: AFA with every weight 1/N, in place of what SABW would say."""

    name = "block-average"
    version = 1

    def build(self, group: Group, models: Sequence[Model], options: Options) -> Denoiser:
        """The models behind the mean of their features."""
        from afa_bench.ensembles.unets import EnsembleUNet, mean

        return _denoiser(EnsembleUNet([model.unet for model in models], mean), models)


class NoiseAverage(Method[Options]):
    """Noise averaging: every model runs on its own; the mean of their predictions."""

    name = "noise-average"
    version = 1

    def build(self, group: Group, models: Sequence[Model], options: Options) -> Denoiser:
        """The models behind the mean of their predictions."""
        from baselines.streams import NoiseAverageUNet

        return _denoiser(NoiseAverageUNet([model.unet for model in models]), models)


def _denoiser(unet: nn.Module, models: Sequence[Model]) -> Denoiser:
    return Denoiser(unet.eval(), [model.text_encoder for model in models])
