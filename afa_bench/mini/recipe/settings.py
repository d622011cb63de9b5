"""Every constant of the recipe. Steps, never seconds, define it: the same seed gives the same zoo on the same kind of device."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

VERSION = 1
ROUTERS = ("moe-block", "moe-denoiser")  # trainables
GROUPS = {"mini-1": ("people", "nature", "things"), "mini-2": ("natural", "warm", "cool")}


@dataclass(frozen=True)
class PartTraining:
    """How one part is trained."""

    steps: int
    batch: int  # of all processes together
    lr: float
    seed: int
    adam_lr: float = 3e-3
    ema: float = 0.0
    cosine: int = 0  # period of the learning rate's cosine where it is not the number of steps
    cooldown: int = 0  # last steps, over which the learning rate also falls linearly to zero


@dataclass(frozen=True)
class ZooRecipe:
    """The whole zoo."""

    seed: int = 17
    every: int = 1  # takes one in so many of the single-object pairs
    mixed_scenes: int = 12_000
    pure_scenes: int = 4_000
    heldout: int = 1_024
    reference: int = 2_048
    scene_share: float = 0.3
    own_share: float = 0.9

    latent_channels: int = 8
    vae_widths: tuple[int, ...] = (16, 32, 64)
    vae: PartTraining = PartTraining(steps=5_000, batch=16, lr=0.02, seed=1, ema=0.99)

    text_width: int = 128
    text_layers: int = 4
    clip: PartTraining = PartTraining(steps=800, batch=128, lr=0.01, adam_lr=2e-3, seed=2)
    evaluator: PartTraining = PartTraining(steps=600, batch=128, lr=0.01, adam_lr=2e-3, seed=3)

    unet_widths: tuple[int, ...] = (32, 64, 64, 64)
    base: PartTraining = PartTraining(steps=2_600, batch=96, lr=0.02, adam_lr=2e-3, seed=4, ema=0.998, cosine=3_600, cooldown=800)
    base_processes: int = 2
    expert: PartTraining = PartTraining(steps=500, batch=48, lr=0.01, adam_lr=1e-3, seed=5, ema=0.99)

    sabw_hidden: int = 16
    sabw: PartTraining = PartTraining(steps=550, batch=32, lr=0.01, adam_lr=3e-3, seed=6, ema=0.98)
    router: PartTraining = PartTraining(steps=550, batch=32, lr=0.01, adam_lr=3e-3, seed=7, ema=0.98)


def scaled(recipe: ZooRecipe, scale: float) -> ZooRecipe:
    """The recipe with every number of steps and of pairs multiplied by ``scale``: for tests and first looks."""
    changes: dict[str, object] = {}
    for entry in fields(recipe):
        value = getattr(recipe, entry.name)
        if isinstance(value, PartTraining):
            lengths = {name: round(getattr(value, name) * scale) for name in ("steps", "cosine", "cooldown")}
            changes[entry.name] = replace(value, **lengths | {"steps": max(2, lengths["steps"])})
        elif entry.name in ("mixed_scenes", "pure_scenes", "heldout", "reference"):
            changes[entry.name] = max(64, round(value * scale))
    changes["every"] = max(1, round(0.1 / scale))
    return replace(recipe, **changes)  # type: ignore[arg-type]
