"""Whether a group's models can be sampled as a suite asks: found out from configurations, before any weights are read."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from afa_bench.errors import UserError
from afa_bench.models.load import scheduler_class
from afa_bench.store.atomic import read_json

if TYPE_CHECKING:
    from afa_bench.models.group import Group


def check_sampling(group: Group, scheduler: str, steps: Sequence[int], size: int) -> None:
    """Make sure that images of this size can be made in these numbers of steps. What is not fetched yet is not asked.

    Args:
        group: whose configurations are read; those of single files come with their architecture.
        scheduler: its class in diffusers.
        steps: numbers of sampling steps.
        size: height and width in pixels.

    Raises:
        UserError: no such scheduler, one that would sample other models than these, too many steps for it, or a size that has no
            latents of its own.
    """
    architecture = group.family
    kind = scheduler_class(scheduler, architecture)
    check_size(group, size)
    group.require_scheduler(scheduler)
    own, different = group.schedule()
    if own:
        made = kind.from_config({**own, **different})
        shift = {"mu": 1.0} if "mu" in inspect.signature(made.set_timesteps).parameters else {}
        for count in steps:
            try:
                made.set_timesteps(count, **shift)
            except (ValueError, IndexError, RuntimeError, ZeroDivisionError) as error:
                raise UserError(f"steps: {count}: {scheduler} cannot: {error}") from error


def check_size(group: Group, size: int) -> None:
    """Raise a UserError for a size that has no latents of its own, as far as configurations tell."""
    if vae := _config(group, "vae/config.json"):
        with suppress(AttributeError):  # a plug-in that asks more of a VAE than its configuration
            group.family.require_size(SimpleNamespace(config=SimpleNamespace(**vae)), size)


def _config(group: Group, name: str) -> Any:
    """A part's configuration; None where it is not there, or is damaged, which whoever loads the part will say."""
    folder = group.pipeline if group.pipeline.is_dir() else group.configs or group.family.configs
    with suppress(UserError):
        found = read_json(folder / name)
        return found if isinstance(found, dict) else None
