"""Checkpoints into memory: a group's models, and the pipeline that all methods share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench.checkpoints.header import require_plain
from afa_bench.checkpoints.parts import part_folder, read_weights
from afa_bench.errors import NotFoundError, UserError
from afa_bench.log import LOG

if TYPE_CHECKING:
    import torch
    from torch import nn

    from afa_bench.models.group import Group


@dataclass(frozen=True)
class Model:
    """One loaded model of a group: the parts in which fine-tuned checkpoints differ.

    Attributes:
        name: in the group.
        unet: its denoiser, whatever the architecture calls it.
        text_encoder: its text encoder; several are one module, see :func:`afa_bench.architectures.text.together`.
    """

    name: str
    unet: nn.Module
    text_encoder: nn.Module


@dataclass
class LoadedGroup:
    """A group in memory: VAE, tokenizers and scheduler are one for all methods, so that only the denoiser differs."""

    group: Group
    vae: Any
    tokenizers: Sequence[Any]
    scheduler: Any
    models: list[Model]

    def pipeline(
        self, denoiser: nn.Module, text_encoders: Sequence[nn.Module], scheduler: str, settings: Mapping[str, str] = {}
    ) -> Any:
        """A stock pipeline around a denoiser.

        Args:
            denoiser: a model, a merge or an ensemble.
            text_encoders: that it listens to. The pipeline holds the first one; whoever calls it gives it what all of them say.
            scheduler: its class in diffusers.
            settings: the sampler's own.

        Raises:
            UserError: no such scheduler in diffusers, or one that cannot sample these models so.
        """
        from afa_bench.architectures.text import encoders_of

        architecture = self.group.family
        pipeline = architecture.class_of(architecture.pipeline)(
            vae=self.vae,
            **dict(zip(architecture.tokenizers, self.tokenizers, strict=True)),
            **dict(zip(architecture.encoders, encoders_of(text_encoders[0]), strict=True)),
            **{architecture.denoiser[0]: denoiser},
            scheduler=self.group.scheduler(scheduler, settings),
            **architecture.pipeline_options,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def load_group(group: Group, device: str, dtype: torch.dtype) -> LoadedGroup:
    """Load all of a group's models onto a device, in eval mode and without gradients.

    Raises:
        UserError: a folder or file is missing, damaged, or of another architecture than it says; models of different kinds.
    """
    import diffusers
    import transformers

    from afa_bench.architectures import single_file
    from afa_bench.architectures.text import together

    for library in (transformers, diffusers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    _, changed = group.schedule()
    architecture = group.family
    part, kind = architecture.denoiser
    shared = _shared(group, dtype)
    models: list[Model] = []
    for ref in group.models:
        if ref.path.is_file():
            own = single_file.load_denoiser(ref.path, architecture, _configs(group), dtype, shared)
        else:
            own = {part: from_folder(ref.path, part, architecture.class_of(kind), dtype)}
            for name, encoder in architecture.encoders.items():
                has_own = ref.path != group.pipeline and (ref.path / name).is_dir()
                own[name] = from_folder(ref.path, name, architecture.class_of(encoder), dtype) if has_own else shared[name]
        encoders = [_ready(own[name], device) for name in architecture.encoders]
        texts = together(encoders, [model.text_encoder for model in models])
        models.append(Model(ref.name, _ready(own[part], device), texts))
    scheduler = shared["scheduler"]
    if changed:
        words = ", ".join(f"{key} {value}" for key, value in changed.items())
        LOG.warning("group %s: the scheduler is set to what the models need: %s", group.name, words)
        scheduler = type(scheduler).from_config(scheduler.config, **changed)
    tokenizers = [shared[name] for name in architecture.tokenizers]
    return LoadedGroup(group, _ready(shared["vae"], device), tokenizers, scheduler, models)


def load_vae(group: Group, dtype: torch.dtype) -> Any:
    """The group's VAE.

    Raises:
        UserError: missing or damaged.
    """
    from afa_bench.architectures import single_file

    if group.pipeline.is_file():
        return single_file.load_vae(group.pipeline, group.family, _configs(group), dtype)
    return from_folder(group.pipeline, "vae", group.family.class_of(group.family.vae), dtype)


def from_folder(folder: Path, part: str, kind: Any, dtype: torch.dtype | None) -> Any:
    """A part of a pipeline in the diffusers layout.

    Args:
        folder: of the pipeline.
        part: its subfolder.
        kind: its class.
        dtype: of weights, where it has some.

    Raises:
        UserError: missing, damaged, or another class.
    """
    import diffusers

    place = part_folder(folder, part)
    if not place.is_dir():
        raise NotFoundError(f"{place}: no such folder; expected a {kind.__name__} in the diffusers layout")
    read = partial(kind.from_pretrained, str(place), local_files_only=True)
    try:
        if not hasattr(kind, "named_parameters"):  # tokenizers and schedulers have no weights
            return read()
        weights, files = read_weights(place)
        for file in files:
            require_plain(file)
        precision = {"torch_dtype" if issubclass(kind, diffusers.ModelMixin) else "dtype": dtype}
        model, found = read(use_safetensors=True, variant=weights.variant, output_loading_info=True, **precision)
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{place}: does not load as {kind.__name__}: {error}") from error
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"{place}: does not load as {kind.__name__}: {len(missing)} weights are not there, such as {missing[0]}")
    return model


def _shared(group: Group, dtype: torch.dtype) -> dict[str, Any]:
    """The pipeline's parts but its denoiser: of a folder; of a single file with configurations beside it."""
    from afa_bench.architectures import single_file

    architecture, folder = group.family, group.pipeline
    parts: dict[str, Any] = {"vae": load_vae(group, dtype), **tokenizers_of(group)}
    configs = _configs(group) if folder.is_file() else folder
    parts["scheduler"] = from_folder(configs, "scheduler", architecture.class_of(architecture.scheduler), dtype)
    if folder.is_file():
        loaded = single_file.load_denoiser(folder, architecture, configs, dtype, parts)
        return parts | {name: loaded[name] for name in architecture.encoders}
    for name, kind in architecture.encoders.items():
        parts[name] = from_folder(folder, name, architecture.class_of(kind), dtype)
    return parts


def tokenizers_of(group: Group) -> dict[str, Any]:
    """The tokenizers by part; the packaged configurations have no vocabulary, which is CLIP's everywhere."""
    from afa_bench.architectures import single_file

    architecture, folder = group.family, _configs(group) if group.pipeline.is_file() else group.pipeline
    parts = {}
    for name, kind in architecture.tokenizers.items():
        if (folder / name).is_dir() or kind != "CLIPTokenizer":
            parts[name] = from_folder(folder, name, architecture.class_of(kind), None)
        else:
            parts[name] = single_file.clip_tokenizer(architecture.pads.get(name, "<|endoftext|>"))
    return parts


def _configs(group: Group) -> Path:
    """The folder of configurations for single files."""
    return group.configs or group.family.configs


def _ready(module: nn.Module, device: str) -> nn.Module:
    return module.to(device).eval().requires_grad_(False)
