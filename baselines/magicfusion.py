"""MagicFusion (Zhao et al. 2023) for N models at any latent size: each pixel takes one model's guided prediction.

It is the model of the largest saliency there, which is the size of its guidance: |s (eps(c) - eps(0))|.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Method, Model, Options
from baselines.families import require_unets

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class MagicFusionOptions(Options):
    """How the models are weighed, and when.

    Attributes:
        ref: whose unconditional prediction a model's conditional one is compared with: its own, or the first model's for all (the
            original).
        k: a temperature for each model's saliency; 1 by default.
        at_most, above: fuse only at timesteps t <= at_most, only at t > above; elsewhere the first model works alone. By default
            all timesteps are fused.
    """

    ref: Literal["own", "first"] = "own"
    k: tuple[float, ...] | None = None
    at_most: int | None = None
    above: int | None = None


class MagicFusion(Method[MagicFusionOptions]):
    """Saliency-aware noise blending."""

    name = "magicfusion"
    version = 1
    needs_guidance = True
    Options = MagicFusionOptions

    @override
    def variants(self, group: Group, options: MagicFusionOptions) -> Mapping[str, MagicFusionOptions]:
        """Raise a UserError for another number of temperatures than of models, or models that are no U-Nets."""
        require_unets(group, self.name)
        _temperatures(options, len(group.models))
        return {self.name: options}

    @override
    def build(self, group: Group, models: Sequence[Model], options: MagicFusionOptions) -> Denoiser:
        from baselines.magicfusion_unet import MagicFusionUNet

        k = _temperatures(options, len(models))
        unet = MagicFusionUNet([model.unet for model in models], k, options.ref, options.at_most, options.above)
        return Denoiser(unet.eval(), [model.text_encoder for model in models], unet.guide)


def _temperatures(options: MagicFusionOptions, count: int) -> Sequence[float]:
    k = options.k or (1.0,) * count
    if len(k) != count:
        raise UserError(f"magicfusion: k: {len(k)} given; expected one for each of the {count} models")
    if count < 2:
        raise UserError("magicfusion: a group of one model has nothing to fuse; expected two or more")
    return k
