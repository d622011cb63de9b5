"""The methods ``moe-block`` and ``moe-denoiser``: a trained router picks a model for each row (the paper, appendix F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import SerializerFunctionWrapHandler, model_serializer
from typing_extensions import override

from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Method, Model, Options
from baselines.families import require_unets

if TYPE_CHECKING:
    from afa_bench.models.group import Group
    from baselines.moe.router import Level


class MoEOptions(Options):
    """Which router.

    Attributes:
        router: a folder with its weights; by default the group's own.
        check: refuse models other than those, in their order, which the router says it was trained for.
    """

    router: Path | None = None
    check: bool = True

    @model_serializer(mode="wrap")
    def _identity(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without ``check`` as it always was, so that results of earlier versions keep their identity."""
        return {key: value for key, value in handler(self).items() if key != "check" or not value}


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
            UserError: neither the options nor the group name one, or it was trained for other models.
        """
        from afa_bench.afa.experts import require_group

        folder = options.router or group.trained.get(self.name)
        if folder is None:
            raise UserError(f"{self.name}: router: group {group.name} has none of its own; expected a folder of trained weights")
        if options.check:
            require_group(folder, group, self.name)
        return {"router": folder}

    @override
    def evaluations(self, group: Group, options: MoEOptions) -> int:
        """One, if all rows choose alike."""
        return 1

    @override
    def build(self, group: Group, models: Sequence[Model], options: MoEOptions) -> Denoiser:
        """The models behind their router, which is brought to their device and number format.

        Raises:
            UserError: no router, or one for other models, another number of them, another architecture or the other level.
        """
        from torch.nn import Module

        from baselines.moe.router import Router
        from baselines.moe.unets import build_mixture

        router = Router.read(self.weights(group, options)["router"])
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
