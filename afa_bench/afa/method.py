"""The method ``afa``: an ensemble whose features SABW aggregates at every block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer
from typing_extensions import override

from afa_bench.afa.ablation import Ablation
from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Method, Model, Options

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class AFAOptions(Options):
    """Which aggregator, and what of it is used.

    Attributes:
        sabw: a folder with the aggregator's weights; by default the group's own.
        without: what the aggregator does not look at: ``spatial`` (one weight for all pixels), ``timestep``, ``text``.
        last_only: aggregate the models' predictions alone.
        check: refuse models other than those, in their order, which the aggregator says it was trained for.

    The paper trains each of its ablations. Weights which were trained so say it themselves and need no option here; from weights
    which were not, the option takes the part away.
    """

    sabw: Path | None = None
    without: tuple[Ablation, ...] = ()
    last_only: bool = False
    check: bool = True

    @field_validator("without", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _identity(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is as it always was is left out, so that results of earlier versions keep their identity."""
        kept: dict[str, Any] = handler(self)
        return {
            key: value
            for key, value in kept.items()
            if key == "sabw" or getattr(self, key) != AFAOptions.model_fields[key].default
        }


class AFA(Method[AFAOptions]):
    """Adaptive Feature Aggregation (the paper, section 3)."""

    name = "afa"
    version = 1
    Options = AFAOptions

    @override
    def weights(self, group: Group, options: AFAOptions) -> Mapping[str, Path]:
        """The aggregator's folder.

        Raises:
            UserError: neither the options nor the group name one, or it was trained for other models.
        """
        from afa_bench.afa.experts import require_group
        from afa_bench.paths import located

        folder = located(str(options.sabw)) if options.sabw else group.sabw
        if folder is None:
            raise UserError(f"afa: sabw: group {group.name} has no aggregator of its own; expected a folder of trained weights")
        if options.check:
            require_group(folder, group)
        return {"sabw": folder}

    @override
    def build(self, group: Group, models: Sequence[Model], options: AFAOptions) -> Denoiser:
        """The models behind their aggregator.

        Raises:
            UserError: no aggregator, or one for other models, another number of them, or another architecture.
        """
        from afa_bench.afa.sabw import SABW
        from afa_bench.ensembles.build import build_ensemble

        sabw = SABW.read(self.weights(group, options)["sabw"]).ablated(options.without, options.last_only)
        denoiser = build_ensemble([model.unet for model in models], sabw)
        return Denoiser(denoiser.eval(), [model.text_encoder for model in models])
