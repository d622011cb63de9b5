"""How good the zoo is: held-out denoising losses, with paired intervals, and where the spatial maps look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from afa_bench.differences import paired_difference
from afa_bench.ensembles.aggregator import Average
from afa_bench.ensembles.unets import EnsembleUNet
from afa_bench.mini.recipe import unet as unets
from afa_bench.mini.recipe.loop import Report, generator
from afa_bench.mini.recipe.pairs import LAYOUTS
from afa_bench.mini.recipe.settings import GROUPS, ROUTERS
from afa_bench.mini.recipe.stages import Facts
from afa_bench.mini.recipe.zoo import Zoo
from afa_bench.stats import mean_interval

FLOATS = NDArray[np.float64]
PAIRS = 384  # held-out pairs that are measured
MAP_BLOCKS = (21, 22, 23, 24)  # the decoder's blocks at the full 8 x 8


@torch.no_grad()
def measure(zoo: Zoo, report: Report, group: str) -> Facts:
    """Losses of every model and method of a group on held-out pairs (x 8 timesteps, the same noise for all)."""
    rows = range(min(PAIRS, len(zoo.heldout)))
    latents, states = zoo.heldout_latents(rows), zoo.heldout_states(rows)
    experts, names = zoo.experts(group), GROUPS[group]
    together = states.repeat(1, 1, len(experts))
    singles = {"base": zoo.unet("base"), **dict(zip(names, experts, strict=True)), "generalist": zoo.unet("generalist")}
    jobs: dict[str, Any] = {name: (unets.stock(unet), states) for name, unet in singles.items()}
    jobs["weighted"] = unets.stock(unets.weighted(experts)), states
    jobs["block-average"] = _ensemble(EnsembleUNet(experts, Average())), together
    jobs["noise-average"] = unets.noise_average(experts), states
    jobs["afa"] = _ensemble(EnsembleUNet(experts, zoo.sabw(group))), together
    found: dict[str, FLOATS] = {}
    for number, (name, (denoise, text)) in enumerate(jobs.items()):
        found[name] = unets.losses(denoise, latents, text).double().numpy()
        report(number + 1, len(jobs), float(found[name].mean()))
    held = zoo.heldout
    kinds = held.domains if group == "mini-1" else held.palettes
    own = {name: np.array([kind == name for kind in kinds[:PAIRS]]) for name in names}
    result = {
        "pairs": len(latents),
        "timesteps": unets.TIMESTEPS,
        "losses": {name: summary(values) for name, values in found.items()},
        "by_timestep": {name: values.mean(axis=0).tolist() for name, values in found.items()},
        "afa_minus": {name: difference(found["afa"], values) for name, values in found.items() if name != "afa"},
        "scenes": {name: summary(values[held.scene[:PAIRS]]) for name, values in found.items()},
        "own": {
            name: {other: float(values[own[name]].mean()) for other, values in found.items()} for name in names if own[name].any()
        },
    }
    return result


@torch.no_grad()
def routing(zoo: Zoo, report: Report, group: str) -> Facts:
    """Losses of a group's mixtures of experts on the same pairs, beside AFA's and single models', and whom the routers chose."""
    rows = range(min(PAIRS, len(zoo.heldout)))
    latents, states = zoo.heldout_latents(rows), zoo.heldout_states(rows)
    experts, names = zoo.experts(group), GROUPS[group]
    together = states.repeat(1, 1, len(experts))
    singles = {"base": zoo.unet("base"), **dict(zip(names, experts, strict=True))}
    found: dict[str, FLOATS] = {}
    usage: dict[str, Any] = {}
    total = len(singles) + 1 + len(ROUTERS)

    def measured(name: str, denoise: unets.Denoise, text: Tensor) -> None:
        found[name] = unets.losses(denoise, latents, text).double().numpy()
        report(len(found), total, float(found[name].mean()))

    for name, unet in singles.items():
        measured(name, unets.stock(unet), states)
    measured("afa", _ensemble(zoo.ensemble(group)), together)
    for method in ROUTERS:
        mixture: Any = zoo.built(group, method)
        with mixture.router.record() as record:
            measured(method, _ensemble(mixture), together)
        usage[method] = record.summary()
    best = np.min([found[name].mean(axis=1) for name in names], axis=0)
    return {
        "pairs": len(latents),
        "timesteps": unets.TIMESTEPS,
        "losses": {name: summary(values) for name, values in found.items()},
        "best_expert_of_each_pair": float(best.mean()),
        "minus": {
            method: {name: difference(found[method], values) for name, values in found.items() if name != method}
            for method in ROUTERS
        },
        "usage": usage,
    }


def _ensemble(ensemble: Any) -> unets.Denoise:
    return lambda noisy, times, states: ensemble(noisy, times, states).sample


def summary(values: FLOATS) -> dict[str, float]:
    """Mean and 95% interval over pairs of losses (pairs, timesteps)."""
    interval = mean_interval(values.mean(axis=1))
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def difference(a: FLOATS, b: FLOATS) -> dict[str, float]:
    """Paired mean difference a - b with its 95% interval, and relative to b's mean."""
    found = paired_difference(a.mean(axis=1), b.mean(axis=1))
    return {"value": found.value, "low": found.low, "high": found.high, "relative": found.value / float(b.mean())}


@torch.no_grad()
def scene_maps(zoo: Zoo, group: str, rows: Sequence[int]) -> Tensor:
    """SABW's weights on noised held-out pairs, (rows, blocks, models, 8, 8): the mean over the timesteps, small maps enlarged."""
    sabw = zoo.sabw(group)
    ensemble = EnsembleUNet(zoo.experts(group), sabw).eval()
    latents = zoo.heldout_latents(rows)
    states = zoo.heldout_states(rows).repeat(1, 1, len(GROUPS[group]))
    schedule = unets.scheduler()
    noise = torch.randn(latents.shape, generator=generator(0, 1))
    total = torch.zeros(())
    for t in unets.TIMESTEPS:
        times = torch.full((len(rows),), t)
        with sabw.record() as maps:
            ensemble(schedule.add_noise(latents, noise, times), times, states)
        total = total + torch.stack([interpolate(maps[index][0], size=(8, 8)) for index in sorted(maps)], dim=1)
    return total / len(unets.TIMESTEPS)


def map_focus(zoo: Zoo, report: Report, group: str) -> Facts:
    """Do the maps follow the objects? The weight of each object's own expert in the object's half, and in the other half."""
    rows = two_kinds(zoo, group)
    halves = []
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        halves += [_halves(zoo, group, row, maps) for row, maps in zip(part, scene_maps(zoo, group, part), strict=True)]
        report(len(halves), len(rows), float(np.mean([half[:, 0] - half[:, 1] for half in halves])))
    own, other = np.moveaxis(np.array(halves), -1, 0)  # each (scenes, blocks)
    full = list(MAP_BLOCKS)
    found = paired_difference(own[:, full].mean(axis=1), other[:, full].mean(axis=1))
    return {
        "scenes": len(rows),
        "blocks": full,
        "own_half": float(own[:, full].mean()),
        "other_half": float(other[:, full].mean()),
        "difference": {"value": found.value, "low": found.low, "high": found.high},
        "by_block": (own - other).mean(axis=0).tolist(),
    }


def two_kinds(zoo: Zoo, group: str) -> list[int]:
    """Held-out scenes whose two objects are two experts' of the group."""
    return [row for row, figures in enumerate(_kinds(zoo, group)) if len(set(figures)) == 2]


def _kinds(zoo: Zoo, group: str) -> list[list[str]]:
    return [[figure[group == "mini-2"] for figure in figures] for figures in zoo.heldout.kinds]


def _halves(zoo: Zoo, group: str, row: int, maps: Tensor) -> FLOATS:
    """(blocks, 2): the weight of an object's own expert in the object's half and in the other, the mean of both objects."""
    sides = maps.chunk(2, dim=3 if f" {next(iter(LAYOUTS))} " in zoo.heldout.captions[row] else 2)
    experts = [GROUPS[group].index(kind) for kind in _kinds(zoo, group)[row]]
    own = torch.stack([sides[i][:, experts[i]].mean(dim=(1, 2)) for i in (0, 1)]).mean(dim=0)
    other = torch.stack([sides[1 - i][:, experts[i]].mean(dim=(1, 2)) for i in (0, 1)]).mean(dim=0)
    return torch.stack([own, other], dim=1).double().numpy()
