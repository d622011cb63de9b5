"""The methods ``moe-block`` and ``moe-denoiser``: a trained router picks a model for each row (the paper, appendix F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Method, Model, Options
from baselines.families import require_unets

if TYPE_CHECKING:
    from afa_bench.models.group import Group
    from baselines.moe.router import Level


class MoEOptions(Options):
    """``router``: a folder with the router's weights; by default the group's own."""

    router: Path | None = None


class _MoE(Method[MoEOptions]):
    version = 1
    Options = MoEOptions
    level: ClassVar[Level]

    @override
    def variants(self, group: Group, options: MoEOptions) -> Mapping[str, MoEOptions]:
        """Raise a UserError for models that are no U-Nets."""
        require_unets(group, self.name)
        return super().variants(group, options)

    @override
    def weights(self, group: Group, options: MoEOptions) -> Mapping[str, Path]:
        """The router's folder.

        Raises:
            UserError: neither the options nor the group name one.
        """
        folder = options.router or group.trained.get(self.name)
        if folder is None:
            raise UserError(f"{self.name}: router: group {group.name} has none of its own; expected a folder of trained weights")
        return {"router": folder}

    @override
    def evaluations(self, group: Group, options: MoEOptions) -> int:
        """One, if all rows choose alike."""
        return 1

    @override
    def build(self, group: Group, models: Sequence[Model], options: MoEOptions) -> Denoiser:
        """The models behind their router, which is brought to their device and number format.

        Raises:
            UserError: no router, or one for another number of models, another order, another architecture or the other level.
        """
        from torch.nn import Module

        from baselines.moe.router import Router
        from baselines.moe.unets import build_mixture

        router = Router.read(self.weights(group, options)["router"])
        trained, names = list(router.config.experts or ()), [model.name for model in models]
        if trained != names and sorted(trained) == sorted(names):
            raise UserError(f"{self.name}: router: trained for the order {', '.join(trained)}; found {', '.join(names)}")
        unets = [model.unet for model in models]
        router.require_fit(unets[0], len(unets), self.level)
        unet = build_mixture(unets, router, self.level)
        Module.to(router, device=unet.device, dtype=unet.dtype)  # as :func:`afa_bench.ensembles.build.build_ensemble`
        return Denoiser(unet.eval(), [model.text_encoder for model in models])


class BlockMoE(_MoE):
    """A router before every block."""

    name = "moe-block"
    level = "block"


class DenoiserMoE(_MoE):
    """One router before the first block."""

    name = "moe-denoiser"
    level = "denoiser"
