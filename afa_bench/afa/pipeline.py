"""A stock diffusers pipeline whose denoiser is an AFA ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import AutoModel, DDIMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import nn

from afa_bench.afa.experts import Expert, denoiser_folder, require_experts
from afa_bench.afa.sabw import SABW
from afa_bench.architectures.find import denoiser_slots, encoder_slots
from afa_bench.architectures.kind import (
    FLOW,
    Kind,
    changes,
    common_kind,
    kind_of_folder,
    kind_of_settings,
    require_known,
    require_sampled,
)
from afa_bench.checkpoints.header import require_plain
from afa_bench.checkpoints.parts import CONFIG, SUFFIX, read_weights
from afa_bench.ensembles.build import build_ensemble
from afa_bench.ensembles.encoders import EnsembleEncoder
from afa_bench.errors import UserError
from afa_bench.log import LOG
from afa_bench.models.addresses import require_place
from afa_bench.models.scheduling import require_sampler

NameOrPath: TypeAlias = str | Path
"""A folder in the diffusers layout, or a repository of the hub: ``owner/name`` or ``owner/name@revision``."""


WEIGHTS_NAME = "diffusion_pytorch_model"
"""Begins what diffusers calls a denoiser's files."""


@dataclass
class _Components:
    """What one expert brings: its denoiser, its text encoders by their slot, its kind, and who it is, if known."""

    denoiser: nn.Module
    encoders: dict[str, Any]
    kind: Kind
    expert: Expert | None


class AFAPipeline:
    """Makes a stock pipeline of several models: ``StableDiffusionPipeline``, ``StableDiffusionXLPipeline`` or ``FluxPipeline``.

    Like diffusers' ``AutoPipelineForText2Image``, it is never instantiated: what it returns has the call, the arguments and the
    output of the stock class, because it is the stock class. An ensemble stands in for its ``unet`` or ``transformer`` and, where
    the models have text encoders of their own, another for its ``text_encoder``. Image-to-image and inpainting are
    ``AutoPipelineForImage2Image.from_pipe(pipe)`` and ``AutoPipelineForInpainting.from_pipe(pipe)``.
    """

    @staticmethod
    def from_experts(
        experts: Sequence[NameOrPath | DiffusionPipeline] | None = None,
        *,
        sabw: SABW | NameOrPath,
        base: NameOrPath | DiffusionPipeline | None = None,
        check: bool = True,
        **settings: Any,
    ) -> Any:
        """A stock pipeline around an ensemble.

        Args:
            experts: the models, in the order in which the aggregator was trained for them; each a folder with ``unet/`` or
                ``transformer/`` (and, where it has them, ``text_encoder/``, ``text_encoder_2/``), a repository of the hub, or a
                pipeline that is already loaded (from a single file, for instance). None: those which ``sabw`` names.
            sabw: the aggregator, or its folder or repository.
            base: the pipeline whose VAE, tokenizers and scheduler are used, and whose text encoders serve models without their
                own; by default the first expert.
            check: whether models with another sha256 than those which the aggregator names are refused.
            settings: as for diffusers' ``from_pretrained``: ``torch_dtype``, ``variant``, ``cache_dir``, ``local_files_only``...

        Raises:
            UserError: models that differ in their architecture or in what they predict, or that ``sabw`` was not made for.
        """
        for key, places in (("sabw", [sabw]), ("base", [base]), ("experts", experts or [])):
            for place in places:
                if isinstance(place, str | Path):
                    require_place(str(place), f"AFAPipeline: {key}")
        aggregator = sabw if isinstance(sabw, SABW) else _sabw(sabw, settings)
        trained = [Expert.read(entry) for entry in aggregator.config.experts or ()]
        named = [f"{own.name}@{own.revision}" if own.revision else own.name for own in trained]
        sources: Sequence[Any] = named if experts is None else experts
        if len(sources) < 2:
            raise UserError(f"AFAPipeline: experts: found {len(sources)}; expected at least two models")
        pipe = _base(sources[0] if base is None else base, settings)
        models = [_components(source, pipe, settings) for source in sources]
        kinds = {f"model {number}": model.kind for number, model in enumerate(models, start=1)}
        scheduler = _scheduler(pipe.scheduler, common_kind("AFAPipeline", kinds, None, None))
        if check:
            require_experts(trained, [model.expert for model in models])
        return _around(pipe, models, aggregator, scheduler)


def _scheduler(scheduler: Any, kind: Kind | None) -> Any:
    """The pipeline's scheduler, or one of its class that is set for the models.

    Raises:
        UserError: it cannot sample them.
    """
    settings, where = _settings(scheduler), f"AFAPipeline: base: {type(scheduler).__name__}"
    kind = kind or kind_of_settings(settings)
    require_sampled(where, kind, kind_of_settings(settings).prediction == FLOW)
    different = changes(settings, kind)
    require_known("AFAPipeline: base", type(scheduler).__name__, {**settings, **different})
    if different:
        words = ", ".join(f"{key} {value}" for key, value in different.items())
        LOG.warning("%s is set to what the models need: %s", where, words)
        scheduler = type(scheduler).from_config(settings, **different)
    usual = FlowMatchEulerDiscreteScheduler if kind.prediction == FLOW else DDIMScheduler
    require_sampler("AFAPipeline: base", scheduler, {**settings, **different}, usual)
    return scheduler


def _settings(scheduler: Any) -> dict[str, Any]:
    """Of a scheduler in memory, with its class, which its configuration does not have before it is saved."""
    return {**scheduler.config, "_class_name": type(scheduler).__name__}


def _around(pipe: Any, models: Sequence[_Components], sabw: SABW, scheduler: Any) -> Any:
    """A pipeline of the same class with the ensemble, and with the models' own text encoders where they have some.

    It is made anew, since a stock pipeline learns its default size from the denoiser that it is made with.
    """
    slots, denoiser = _of(pipe, encoder_slots()), next(slot for slot in denoiser_slots() if slot in pipe.components)
    own = {slot: [model.encoders[slot] for model in models] for slot in slots}
    different = [slot for slot in slots if len({id(encoder) for encoder in own[slot]}) > 1]
    widths = None
    if different and denoiser == "unet":  # a U-Net reads all encoders' states side by side: all are one model's or N models'
        different, widths = slots, [getattr(pipe, slot).config.hidden_size for slot in slots]
    encoders = {slot: EnsembleEncoder(own[slot]) if slot in different else own[slot][0] for slot in slots}
    ensemble = build_ensemble([model.denoiser for model in models], sabw, widths).eval()
    components = {**pipe.components, **encoders, denoiser: ensemble, "scheduler": scheduler}
    kind = type(pipe)
    options = {name: pipe.config[name] for name in signature(kind).parameters if name not in components and name in pipe.config}
    return kind(**components, **options)


def _base(source: NameOrPath | DiffusionPipeline, settings: dict[str, Any]) -> Any:
    """The pipeline whose parts are shared, without its denoiser."""
    if isinstance(source, DiffusionPipeline):
        return source
    name, revision = _address(source)
    index = DiffusionPipeline.load_config(name, revision=revision, **_hub(settings))
    absent: dict[str, Any] = {slot: None for slot in denoiser_slots() if slot in index}
    return DiffusionPipeline.from_pretrained(name, revision=revision, **{"use_safetensors": True, **absent, **settings})


def _components(source: NameOrPath | DiffusionPipeline, pipe: Any, settings: dict[str, Any]) -> _Components:
    """One expert's denoiser and text encoders; an encoder which equals the base's is the base's."""
    slots = _of(pipe, encoder_slots())
    shared = {slot: getattr(pipe, slot) for slot in slots}
    if isinstance(source, DiffusionPipeline):
        found = source.components
        encoders = {slot: _one_of(shared[slot], found.get(slot) or shared[slot]) for slot in slots}
        denoisers = _of(source, denoiser_slots())
        if not denoisers:
            expected = " or ".join(denoiser_slots())
            raise UserError(f"AFAPipeline: experts: {type(source).__name__}: expected a pipeline with a component {expected}")
        return _Components(found[denoisers[0]], encoders, kind_of_settings(_settings(source.scheduler)), None)
    folder = _folder(source, settings)
    load: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    load |= {key: settings[key] for key in ("torch_dtype", "device_map") if key in settings}
    encoders = dict(shared)
    for slot in slots:
        if (place := folder / slot).is_dir():
            own = type(shared[slot]).from_pretrained(place, **_renamed({**load, "variant": _variant(place, settings)})).eval()
            encoders[slot] = _one_of(shared[slot], own)
    place = denoiser_folder(folder)
    kind = kind_of_folder(folder) or kind_of_settings(_settings(pipe.scheduler))
    denoiser = AutoModel.from_pretrained(str(place), **load, variant=_variant(place, settings)).eval()
    return _Components(denoiser, encoders, kind, Expert.of(folder, str(source), None, settings.get("variant")))


def _variant(place: Path, settings: dict[str, Any]) -> str | None:
    """Of the weights that are read in a folder, which have to be plain numbers."""
    weights, files = read_weights(place, settings.get("variant"))
    for file in files:
        require_plain(file)
    return weights.variant


def _of(pipe: Any, slots: Sequence[str]) -> list[str]:
    """Those of the slots in which a pipeline has something."""
    return [slot for slot in slots if getattr(pipe, slot, None) is not None]


def _one_of(shared: nn.Module, own: nn.Module) -> nn.Module:
    """``shared`` if both have the same weights, so that one text encoder is not kept N times."""
    one, other = shared.state_dict(), own.state_dict()
    equal = one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    return shared if equal else own


def _renamed(load: dict[str, Any]) -> dict[str, Any]:
    """Settings of diffusers as transformers names them."""
    return {"dtype" if key == "torch_dtype" else key: value for key, value in load.items()}


def _sabw(source: NameOrPath, settings: dict[str, Any]) -> SABW:
    if Path(source).is_dir():
        return SABW.read(Path(source))  # type: ignore[no-any-return]
    name, revision = _address(source)
    sabw: SABW = SABW.from_pretrained(name, revision=revision, use_safetensors=True, **_hub(settings))
    return sabw.eval().requires_grad_(False)  # type: ignore[no-any-return]


def _folder(source: NameOrPath, settings: dict[str, Any]) -> Path:
    """A local folder, or the snapshot of a repository: its denoiser, text encoders and scheduler, nothing but safetensors."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    name, revision = _address(source)
    ending = f".{settings['variant']}.safetensors" if settings.get("variant") else ".safetensors"
    places = (*denoiser_slots(), *encoder_slots(), "scheduler")
    wanted = [f"{place}/*{end}" for place in places for end in (".json", ending)]
    wanted += [CONFIG, f"{WEIGHTS_NAME}*{ending}", f"{WEIGHTS_NAME}*.json"]  # of a repository that is nothing but a denoiser
    others = [] if settings.get("variant") else ["*.fp16.safetensors", "*.non_ema.safetensors"]
    hub = {key: value for key, value in _hub(settings).items() if key in ("cache_dir", "token", "local_files_only")}
    ask = partial(snapshot_download, name, revision=revision, allow_patterns=wanted, **hub)
    folder = Path(ask(ignore_patterns=others))
    return folder if any(folder.rglob(f"{WEIGHTS_NAME}*{SUFFIX}")) else Path(ask())  # which has a variant alone


def _address(source: NameOrPath) -> tuple[str, str | None]:
    """A folder or a repository, and its revision."""
    if Path(source).is_dir():
        return str(source), None
    name, _, revision = str(source).partition("@")
    return name, revision or None


def _hub(settings: dict[str, Any]) -> dict[str, Any]:
    keys = ("cache_dir", "token", "local_files_only", "force_download", "proxies")
    return {key: settings[key] for key in keys if key in settings}
