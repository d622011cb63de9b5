"""What a group is: the bytes of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench.checkpoints.hashing import hash_file, hash_folder, hash_weights
from afa_bench.checkpoints.header import read_header
from afa_bench.checkpoints.parts import part_folder, visible, vocabulary
from afa_bench.models.scheduling import made_of, scheduler_class

if TYPE_CHECKING:
    from afa_bench.models.group import Group


PACKAGED = {
    "sd15": "7634cd0152b0275015ff4926eed3f42be38591f9e686c412255fe1727264a08a",
    "sdxl": "e7342402707be55f276d926c700db9bb8e5c5cc5cc9e037a5f8428cbe32da30e",
}
"""What stands for the packaged configurations: their hashes at first. What their schedulers have had since is part of the
identity of the images that it changes; see :func:`changed_since`."""

LACKED = ("interpolation_type", "sample_max_value", "skip_prk_steps", "timestep_spacing", "trained_betas", "use_karras_sigmas")
"""What the packaged schedulers did not have at first."""


def group_identity(group: Group) -> dict[str, Any]:
    """sha256 of everything in a group that fixes its results.

    Raises:
        UserError: a folder or file is missing or damaged.
    """
    architecture = group.family
    if group.pipeline.is_file():
        pipeline: dict[str, Any] = {"file": hash_weights(group.pipeline)}
    else:
        pipeline = {part: hash_weights(group.pipeline / part) for part in ("vae", *architecture.encoders)}
        for part in architecture.tokenizers:
            pipeline[part] = hash_folder(group.pipeline / part, vocabulary(visible(group.pipeline / part)))
        pipeline["scheduler"] = hash_folder(group.pipeline / "scheduler", ["scheduler_config.json"])
    if any(path.is_file() for path in (group.pipeline, *(ref.path for ref in group.models))):
        packaged = PACKAGED.get(architecture.name) if group.configs is None and architecture.version == 0 else None
        pipeline["configs"] = packaged or hash_folder(group.configs or architecture.configs)
        pipeline["vocabulary"] = hash_file(Path(str(files("open_clip") / "bpe_simple_vocab_16e6.txt.gz")))
    if group.zeros is not None:
        pipeline["force_zeros_for_empty_prompt"] = group.zeros
    if group.prediction_type is not None:
        pipeline["prediction_type"] = group.prediction_type
    settings, different = group.schedule()
    if different and not _marked(group, settings, different):
        pipeline["schedule"] = dict(different)
    models = {
        ref.name: {"file": hash_weights(ref.path)}
        if ref.path.is_file()
        else {part: hash_weights(part_folder(ref.path, part)) for part in own_parts(ref.path, group)}
        for ref in group.models
    }
    order = [ref.name for ref in group.models]  # canonical JSON sorts keys, but weights and references go by the order
    return {"name": group.name, "pipeline": pipeline, "models": models, "order": order, **architecture.identity()}


def changed_since(group: Group, scheduler: str) -> dict[str, Any]:
    """The settings of a scheduler which are others than when the packaged configurations did not have :data:`LACKED`.

    They are a part of the identity of what it samples, which was something else then.
    """
    if not (group.pipeline.is_file() and group.configs is None and group.architecture in PACKAGED):
        return {}
    own, different = group.schedule()
    kind = scheduler_class(scheduler, group.family)
    first = {key: value for key, value in own.items() if key not in LACKED}
    before, now = (made_of(kind, {**settings, **different}).config for settings in (first, own))
    return {key: now[key] for key in sorted(signature(kind).parameters) if now[key] != before[key]}


def _marked(group: Group, settings: Mapping[str, Any], different: Mapping[str, Any]) -> bool:
    """Whether all that differs is a prediction which the identity has already: the group's own word, or a mark in every file."""
    if different.keys() != {"prediction_type"} or "prediction_type" not in settings:
        return False
    return group.prediction_type is not None or all(
        ref.path.is_file() and "v_pred" in read_header(ref.path).tensors for ref in group.models
    )


def own_parts(model: Path, group: Group) -> Sequence[str]:
    """The folders of a model which are its own: its denoiser, and the text encoders that are not the pipeline's."""
    encoders = [part for part in group.family.encoders if model != group.pipeline and (model / part).is_dir()]
    return [group.family.denoiser[0], *encoders]
