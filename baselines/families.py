"""What a method asks of the family of a group's models, before any weights are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afa_bench.errors import UserError

if TYPE_CHECKING:
    from afa_bench.models.group import Group


def require_unets(group: Group, method: str) -> None:
    """Raise a UserError for models that are no U-Nets."""
    slot, kind = group.family.denoiser
    if slot != "unet":
        raise UserError(f"{method}: group {group.name}: {group.family.title}'s {kind} is not supported; expected U-Nets")


def has_blocks(group: Group) -> bool:
    """Whether the models' blocks have numbers, so that a merge can differ by block."""
    return group.family.denoiser[0] == "unet" or group.family.layout is not None
