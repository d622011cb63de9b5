"""The trainable ``afa``: SABW on a group's models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from typing_extensions import override

from afa_bench.afa.ablation import Ablation
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
        start: a folder of weights to begin with, in place of fresh ones; trained with this group's models or with others.
    """

    hidden: Annotated[int, Field(ge=1)] = 128
    heads: Annotated[int, Field(ge=1)] | None = None
    layers: Annotated[int, Field(ge=1)] = 2
    without: tuple[Ablation, ...] = ()
    last_only: bool = False
    start: Path | None = None


class TrainAFA(Trainable[SABWOptions]):
    """Adaptive Feature Aggregation (the paper, section 3)."""

    name = "afa"
    Options = SABWOptions

    @override
    def build(self, group: Group, models: Sequence[Model], options: SABWOptions) -> Learner:
        """The models behind a fresh aggregator, or behind the given one.

        Raises:
            UserError: models of different architectures, or an aggregator for others.
        """
        from afa_bench.afa.experts import experts_of
        from afa_bench.afa.sabw import SABW
        from afa_bench.ensembles.build import build_ensemble
        from afa_bench.paths import located

        unets = [model.unet for model in models]
        experts = [expert.entry() for expert in experts_of(group)]
        if options.start is None:
            settings = options.model_dump(exclude={"start"})
            sabw = SABW.for_model(unets[0], len(models), experts=experts, **settings)
        else:
            sabw = SABW.read(located(str(options.start)))
            sabw.register_to_config(experts=experts)  # those that it learns to fit
        denoiser = build_ensemble(unets, sabw)
        sabw.float()
        return Learner(Denoiser(denoiser, [model.text_encoder for model in models]), sabw)
