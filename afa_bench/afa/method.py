"""The method ``afa``: an ensemble whose features SABW aggregates at every block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Method, Model, Options

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class AFAOptions(Options):
    """``sabw``: a folder with the aggregator's weights; by default the group's own."""

    sabw: Path | None = None


class AFA(Method[AFAOptions]):
    """Adaptive Feature Aggregation (the paper, section 3)."""

    name = "afa"
    version = 1
    Options = AFAOptions

    def weights(self, group: Group, options: AFAOptions) -> Mapping[str, Path]:
        """The aggregator's folder.

        Raises:
            UserError: neither the options nor the group name one.
        """
        folder = options.sabw or group.sabw
        if folder is None:
            raise UserError(f"afa: sabw: group {group.name} has no aggregator of its own; expected a folder of trained weights")
        return {"sabw": folder}

    def build(self, group: Group, models: Sequence[Model], options: AFAOptions) -> Denoiser:
        """The models behind their aggregator, which is brought to their device and number format.

        Raises:
            UserError: no aggregator, or one for another number of models or another architecture.
        """
        from afa_bench.afa.ensemble import EnsembleUNet
        from afa_bench.afa.sabw import SABW

        folder = self.weights(group, options)["sabw"]
        sabw = SABW.read(folder)
        sabw.require_fit(models[0].unet, len(models))
        unet = EnsembleUNet([model.unet for model in models], sabw)
        sabw.to(device=unet.device, dtype=unet.dtype)
        return Denoiser(unet.eval(), [model.text_encoder for model in models])
