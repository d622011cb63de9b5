"""The trainables ``moe-block`` and ``moe-denoiser``: routers on a group's frozen models (the paper, appendix F)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from afa_bench.method import Denoiser, Model, Options
from afa_bench.training.trainable import Learner, Trainable

if TYPE_CHECKING:
    from torch import Tensor

    from afa_bench.models.group import Group
    from baselines.moe.router import Level, Router


class RouterOptions(Options):
    """Which router is trained, and how rows are routed meanwhile.

    Attributes:
        hidden, heads, layers: its size; by default as SABW's, with heads of 16 channels.
        temperature: of the Gumbel softmax.
        temperature_end: what it has come down to, exponentially, at the end; by default it stays.
        balance: what the balance loss counts beside the denoising loss; 0 by default: nothing.
    """

    hidden: Annotated[int, Field(ge=1)] = 128
    heads: Annotated[int, Field(ge=1)] | None = None
    layers: Annotated[int, Field(ge=1)] = 2
    temperature: Annotated[float, Field(gt=0)] = 1.0
    temperature_end: Annotated[float, Field(gt=0)] | None = None
    balance: Annotated[float, Field(ge=0)] = 0.0


class _TrainMoE(Trainable[RouterOptions]):
    Options = RouterOptions
    level: ClassVar[Level]

    @override
    def build(self, group: Group, models: Sequence[Model], options: RouterOptions) -> Learner:
        """The models behind fresh routers, which route at random, in equal shares.

        Raises:
            UserError: models of different architectures.
        """
        from afa_bench.afa.experts import experts_of
        from baselines.moe.router import Router
        from baselines.moe.unets import build_mixture

        unets, experts = [model.unet for model in models], [expert.entry() for expert in experts_of(group)]
        size = options.model_dump(include={"hidden", "heads", "layers"})
        router = Router.for_unet(unets[0], len(unets), self.level, experts=experts, **size)
        unet = build_mixture(unets, router, self.level)
        router.to(unet.device)
        router.temperature = options.temperature
        end = options.temperature_end
        statistics = _RoutingStatistics(router, options.balance)

        def anneal(share: float) -> None:
            router.temperature = options.temperature * ((end or options.temperature) / options.temperature) ** share

        denoiser = Denoiser(unet, [model.text_encoder for model in models])
        return Learner(denoiser, router, statistics.auxiliary, None if end is None else anneal, statistics.facts)


class TrainBlockMoE(_TrainMoE):
    """Routers before every block."""

    name = "moe-block"
    level = "block"


class TrainDenoiserMoE(_TrainMoE):
    """One router before the first block."""

    name = "moe-denoiser"
    level = "denoiser"


class _RoutingStatistics:
    """What a router in training has chosen: its balance loss, and how it spreads its rows."""

    def __init__(self, router: Router, weight: float) -> None:
        self.router, self.weight = router, weight
        self._entropies: list[float] = []
        self._largest: list[float] = []

    def auxiliary(self) -> Tensor:
        """The weight times the mean over the routers of N sum_i f_i p_i (Fedus et al. 2022).

        f_i is the share of the rows that go to model i and p_i its mean probability: 1 where all have the same share, N where
        one has all.
        """
        import torch

        losses = []
        for logits, choices in self.router.take():
            probabilities, shares = logits.softmax(dim=1), choices.detach().mean(dim=0)
            losses.append(logits.shape[1] * (shares * probabilities.mean(dim=0)).sum())
            self._entropies.append(torch.special.entr(probabilities.detach()).sum(dim=1).mean().item())
            self._largest.append(shares.max().item())
        return self.weight * torch.stack(losses).mean()

    def facts(self) -> dict[str, float]:
        """The mean entropy of a row's probabilities in nats, and the mean share of a router's most used model."""
        count = max(1, len(self._entropies))
        found = {"entropy": sum(self._entropies) / count, "largest_share": sum(self._largest) / count}
        self._entropies, self._largest = [], []
        return found
