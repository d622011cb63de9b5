"""Checkpoints into memory: a group's models, and the pipeline that all methods share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench.architectures.families import SD15, Family
from afa_bench.checkpoints.hashing import check_safetensors
from afa_bench.errors import NotFoundError, UserError
from afa_bench.method import Denoiser, Model
from afa_bench.models.group import Group

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass
class LoadedGroup:
    """A group in memory: VAE, tokenizers and scheduler are one for all methods, so that only the denoiser differs."""

    group: Group
    vae: Any
    tokenizers: Sequence[Any]
    scheduler: Any
    models: list[Model]

    @property
    def tokenizer(self) -> Any:
        """The first tokenizer; SD 1.5 has no other."""
        return self.tokenizers[0]

    def pipeline(self, denoiser: Denoiser, scheduler: str) -> Any:
        """A stock pipeline around a denoiser, without the safety checker (it would blacken images and spoil the metrics).

        Raises:
            UserError: no such scheduler in diffusers, or one that cannot take this pipeline's configuration.
        """
        import diffusers

        from afa_bench.architectures.text import encoders_of

        family = self.group.family
        kind = getattr(diffusers, scheduler, None)
        if kind is None or not issubclass(kind, diffusers.SchedulerMixin):
            raise UserError(f"sampler.scheduler: {scheduler!r} is not a scheduler of diffusers {diffusers.__version__}")
        if ("FlowMatch" in scheduler) != ("FlowMatch" in family.scheduler):
            raise UserError(f"sampler.scheduler: {scheduler} does not fit {family.name}; its own is {family.scheduler}")
        unchecked = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = getattr(diffusers, family.pipeline)(
            vae=self.vae,
            **dict(zip(family.tokenizers, self.tokenizers, strict=True)),
            **dict(zip(family.encoders, encoders_of(denoiser.text_encoders[0]), strict=True)),
            **{family.denoiser[0]: denoiser.unet},
            scheduler=kind.from_config(self.scheduler.config),
            **(unchecked if family is SD15 else {}),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def load_group(group: Group, device: str, dtype: torch.dtype) -> LoadedGroup:
    """Load all of a group's models onto a device, in eval mode and without gradients.

    Raises:
        UserError: a folder or file is missing, damaged, or of another architecture than it says.
    """
    import diffusers
    import transformers

    from afa_bench.architectures import single_file
    from afa_bench.architectures.text import together

    for library in (transformers, diffusers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    family, configs = group.family, group.configs or group.family.configs
    part, kind = family.denoiser
    shared = _shared(group, configs, dtype)
    models: list[Model] = []
    for ref in group.models:
        if ref.path.is_file():
            own = single_file.load_denoiser(ref.path, family, configs, dtype, shared)
        else:
            own = {part: from_folder(ref.path, part, kind, dtype)}
            for name, encoder in family.encoders.items():
                has_own = ref.path != group.pipeline and (ref.path / name).is_dir()
                own[name] = from_folder(ref.path, name, encoder, dtype) if has_own else shared[name]
        texts = together([_ready(own[name], device) for name in family.encoders], models)
        models.append(Model(ref.name, _ready(own[part], device), texts))
    scheduler = shared["scheduler"]
    scheduler.register_to_config(**_predicted(group))
    return LoadedGroup(group, _ready(shared["vae"], device), [shared[name] for name in family.tokenizers], scheduler, models)


def load_vae(group: Group, dtype: torch.dtype) -> Any:
    """The group's VAE.

    Raises:
        UserError: missing or damaged.
    """
    from afa_bench.architectures import single_file

    if group.pipeline.is_file():
        return single_file.load_vae(group.pipeline, group.configs or group.family.configs, dtype)
    return from_folder(group.pipeline, "vae", "AutoencoderKL", dtype)


def from_folder(folder: Path, part: str, kind: str, dtype: torch.dtype) -> Any:
    """A part of a pipeline in the diffusers layout.

    Args:
        folder: of the pipeline.
        part: its subfolder.
        kind: its class in diffusers or transformers.
        dtype: of weights.

    Raises:
        UserError: missing, damaged, or another class.
    """
    import diffusers
    import transformers

    place = folder / part
    if not place.is_dir():
        raise NotFoundError(f"{place}: no such folder; expected a {kind} in the diffusers layout")
    for file in place.glob("*.safetensors"):
        check_safetensors(file)
    library = diffusers if hasattr(diffusers, kind) else transformers
    read = partial(getattr(library, kind).from_pretrained, str(place), local_files_only=True)
    try:
        if not (place / "config.json").is_file():  # tokenizers and schedulers have other configurations
            return read()
        precision = {"torch_dtype" if library is diffusers else "dtype": dtype}
        model, found = read(use_safetensors=True, output_loading_info=True, **precision)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{place}: does not load as {kind}: {error}") from error
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"{place}: does not load as {kind}: {len(missing)} weights are not there, such as {missing[0]}")
    return model


def _shared(group: Group, configs: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The pipeline's parts but its denoiser: of a folder; of a single file with configurations beside it."""
    from afa_bench.architectures import single_file

    family, folder = group.family, group.pipeline
    parts: dict[str, Any] = {"vae": load_vae(group, dtype)}
    if folder.is_file():
        folder = configs
        loaded = single_file.load_denoiser(group.pipeline, family, configs, dtype, {**parts, **_words(family, configs, dtype)})
        parts |= {name: loaded[name] for name in family.encoders}
    else:
        parts |= {name: from_folder(folder, name, kind, dtype) for name, kind in family.encoders.items()}
    return parts | _words(family, folder, dtype)


def _words(family: Family, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Scheduler and tokenizers; the packaged configurations have no vocabulary, which is CLIP's everywhere."""
    from afa_bench.architectures import single_file

    parts = {"scheduler": from_folder(folder, "scheduler", family.scheduler, dtype)}
    for index, (name, kind) in enumerate(family.tokenizers.items()):
        if (folder / name).is_dir() or kind != "CLIPTokenizer":
            parts[name] = from_folder(folder, name, kind, dtype)
        else:
            parts[name] = single_file.clip_tokenizer("!" if index else "<|endoftext|>")
    return parts


def _predicted(group: Group) -> dict[str, Any]:
    """The scheduler's settings by what the models predict.

    Raises:
        UserError: the marks of the group's files contradict each other.
    """
    from afa_bench.architectures.single_file import marks

    if group.prediction_type is not None:
        return {"prediction_type": group.prediction_type}
    found = {ref.name: marks(ref.path) for ref in group.models if ref.path.is_file()}
    first, *others = found or {"": {}}
    for other in others:
        if found[other] != found[first]:
            raise UserError(f"group {group.name}: models {first} and {other} predict different things; one schedule serves both")
    return found.get(first, {})


def _ready(module: nn.Module, device: str) -> nn.Module:
    return module.to(device).eval().requires_grad_(False)
