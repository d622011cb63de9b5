"""The trainable ``afa``: SABW on a group's models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from typing_extensions import override

from afa_bench.afa.ablation import Ablation
from afa_bench.errors import UserError
from afa_bench.method import Denoiser, Model, Options
from afa_bench.training.trainable import Learner, Trainable

if TYPE_CHECKING:
    from afa_bench.models.group import Group


class SABWOptions(Options):
    """Which aggregator is trained.

    Attributes:
        hidden, heads, layers: its size; by default 128 channels, 8 heads of 16, 2 layers.
        without: what it does not look at (the paper's ablations): ``spatial``, ``timestep``, ``text``.
        last_only: aggregate the models' predictions alone (another of them).
        start: a folder of weights to begin with, in place of fresh ones; trained with this group's models or with others. They
            say all the rest: what they say otherwise is refused.
    """

    hidden: Annotated[int, Field(ge=1)] = 128
    heads: Annotated[int, Field(ge=1)] | None = None
    layers: Annotated[int, Field(ge=1)] = 2
    without: tuple[Ablation, ...] = ()
    last_only: bool = False
    start: Path | None = None

    @model_serializer(mode="wrap")
    def _in_force(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kept: dict[str, Any] = handler(self)
        return kept if self.start is None else {"start": kept["start"]}

    def require_same(self, config: Mapping[str, Any]) -> None:
        """Raise a UserError for an option that is not as the configuration of weights to begin with has it."""
        own = {"hidden": config["hidden"], "heads": config["heads"] or max(1, config["hidden"] // 16), "layers": config["layers"]}
        own |= {"without": tuple(sorted(config["without"])), "last_only": config["last_only"]}
        for key in sorted(self.model_fields_set & own.keys()):
            given = tuple(sorted(self.without)) if key == "without" else getattr(self, key)
            if given != own[key] and given is not None:
                raise UserError(
                    f"trainable: afa: {key}: {given}; expected {own[key]}, which the weights of start have, or nothing"
                )


class TrainAFA(Trainable[SABWOptions]):
    """Adaptive Feature Aggregation (the paper, section 3)."""

    name = "afa"
    Options = SABWOptions

    @override
    def weights(self, options: SABWOptions) -> Mapping[str, Path]:
        from afa_bench.paths import located

        return {} if options.start is None else {"start": located(str(options.start))}

    @override
    def build(self, group: Group, models: Sequence[Model], options: SABWOptions) -> Learner:
        """The models behind a fresh aggregator, or behind the given one.

        Raises:
            UserError: models of different architectures, an aggregator for others, or options that it does not have.
        """
        from afa_bench.afa.experts import experts_of
        from afa_bench.afa.sabw import SABW
        from afa_bench.ensembles.build import build_ensemble

        unets = [model.unet for model in models]
        experts = [expert.entry() for expert in experts_of(group)]
        if options.start is None:
            settings = options.model_dump(exclude={"start"})
            sabw = SABW.for_model(unets[0], len(models), experts=experts, **settings)
        else:
            sabw = SABW.read(self.weights(options)["start"])
            options.require_same(sabw.config)
            sabw.register_to_config(experts=experts)  # those that it learns to fit
        denoiser = build_ensemble(unets, sabw)
        sabw.float()
        return Learner(Denoiser(denoiser, [model.text_encoder for model in models]), sabw)
