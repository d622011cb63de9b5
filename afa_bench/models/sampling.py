"""Whether a group's models can be sampled as a suite asks: found out from configurations, before any weights are read."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from afa_bench.checkpoints.header import require_plain
from afa_bench.checkpoints.parts import part_folder, read_weights
from afa_bench.errors import UserError
from afa_bench.models.sampler import Sampler
from afa_bench.models.scheduling import scheduler_class
from afa_bench.models.trial import FAILS, set_steps
from afa_bench.store.atomic import read_json

if TYPE_CHECKING:
    from afa_bench.models.group import Group


def check_sampling(group: Group, sampler: Sampler, steps: Sequence[int], sizes: Sequence[int]) -> None:
    """Make sure that images of this size can be made in these numbers of steps. What is not fetched yet is not asked.

    Args:
        group: whose configurations are read; those of single files come with their architecture.
        sampler: as the suite has it.
        steps: numbers of sampling steps.
        sizes: height and width in pixels.

    Raises:
        UserError: no such scheduler, one that would sample other models than these, too many steps for it, a setting that would
            do nothing, weights that are not read rightly, or a size that has no latents of its own.
    """
    architecture = group.family
    scheduler_class(sampler.scheduler, architecture)
    for size in sizes:
        check_size(group, size)
    _require_plain(group)
    own, _ = group.schedule()
    if not own:
        return
    made = group.scheduler(sampler.scheduler, sampler.schedule)
    for count in steps:
        try:
            set_steps(made, count)
        except FAILS as error:
            raise UserError(f"steps: {count}: {sampler.scheduler} cannot: {error}") from error
    _require_taken(group, sampler, made)


def _require_plain(group: Group) -> None:
    parts = (group.family.denoiser[0], "vae", *group.family.encoders)
    for path in (group.pipeline, *(model.path for model in group.models)):
        folders = [place for place in (part_folder(path, part) for part in parts) if place.is_dir()]
        for file in [path] if path.is_file() else [file for place in folders for file in read_weights(place)[1]]:
            require_plain(file)


def _require_taken(group: Group, sampler: Sampler, scheduler: Any) -> None:
    """Raise a UserError for what the stock pipeline would not go by."""
    architecture = group.family
    if "eta" in sampler.call and "eta" not in inspect.signature(scheduler.step).parameters:
        raise UserError(f"sampler.eta: {sampler.scheduler} takes none; expected a scheduler that does, such as DDIMScheduler")
    if sampler.guidance_rescale and (sampler.guidance <= 1 or not architecture.classifier_free):
        raise UserError("sampler.guidance_rescale: does nothing without classifier-free guidance (sampler.guidance above 1)")
    zeros = "force_zeros_for_empty_prompt"
    wanted = {**sampler.call, **{key: True for key in ("clip_skip", zeros) if getattr(sampler, key) is not None}}
    if wanted:
        kind = architecture.class_of(architecture.pipeline)
        known = {*inspect.signature(kind.__call__).parameters, *inspect.signature(kind).parameters}
        for key in wanted:
            if key not in known:
                raise UserError(f"sampler.{key}: {architecture.title}'s {architecture.pipeline} has no such setting")
    if sampler.long_prompts != "cut" and not architecture.in_pieces:
        raise UserError(f"sampler.long_prompts: {sampler.long_prompts}: {architecture.title} reads long prompts by itself")
    for name in architecture.encoders if sampler.clip_skip is not None else ():
        layers = (_config(group, f"{name}/config.json") or {}).get("num_hidden_layers")
        if layers is not None and sampler.clip_skip >= layers:
            raise UserError(f"sampler.clip_skip: {sampler.clip_skip}; expected fewer than the {layers} layers of {name}")


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
