"""The architectures that checkpoints have: which parts a pipeline consists of, as data. Imports no torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from afa_bench.errors import UserError
from afa_bench.registry import suggest


@dataclass(frozen=True)
class Family:
    """An architecture.

    Attributes:
        name: ``sd15``, ``sdxl`` or ``flux``.
        pipeline: the stock pipeline's class in diffusers.
        denoiser: the part that fine-tuned models differ in, and its class in diffusers.
        encoders, tokenizers: part -> class in transformers, in the pipeline's order.
        scheduler: the class in diffusers that the scheduler's settings are read with.
        weights: files of a hub repository in the diffusers layout, by part.
        mark: begins the names of tensors that only single files of this family have.
        texts: begins the names of the text encoders' tensors in a single file.
    """

    name: str
    pipeline: str
    denoiser: tuple[str, str]
    encoders: Mapping[str, str]
    tokenizers: Mapping[str, str]
    scheduler: str
    weights: Mapping[str, tuple[str, ...]]
    mark: tuple[str, ...]
    texts: str

    @property
    def configs(self) -> Path:
        """The folder of configurations that ships with the package, in the diffusers layout."""
        return Path(str(files("afa_bench.architectures") / "configs" / self.name))

    def files(self, parts: Iterable[str]) -> list[str]:
        """The files of these parts in a hub repository."""
        return [f"{part}/{name}" for part in parts for name in self.weights[part]]


_WEIGHTS = ("config.json", "diffusion_pytorch_model.safetensors")
_ENCODER = ("config.json", "model.safetensors")
_TOKENIZER = ("merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json")
_COMMON = {
    "vae": _WEIGHTS,
    "unet": _WEIGHTS,
    "text_encoder": _ENCODER,
    "tokenizer": _TOKENIZER,
    "scheduler": ("scheduler_config.json",),
}

SD15 = Family(
    name="sd15",
    pipeline="StableDiffusionPipeline",
    denoiser=("unet", "UNet2DConditionModel"),
    encoders={"text_encoder": "CLIPTextModel"},
    tokenizers={"tokenizer": "CLIPTokenizer"},
    scheduler="DDIMScheduler",
    weights=_COMMON,
    mark=("cond_stage_model.",),
    texts="cond_stage_model.",
)
SDXL = Family(
    name="sdxl",
    pipeline="StableDiffusionXLPipeline",
    denoiser=("unet", "UNet2DConditionModel"),
    encoders={"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"},
    tokenizers={"tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer"},
    scheduler="DDIMScheduler",
    weights={**_COMMON, "text_encoder_2": _ENCODER, "tokenizer_2": _TOKENIZER},
    mark=("conditioner.embedders.", "model.diffusion_model.label_emb."),
    texts="conditioner.embedders.",
)
FLUX = Family(
    name="flux",
    pipeline="FluxPipeline",
    denoiser=("transformer", "FluxTransformer2DModel"),
    encoders={"text_encoder": "CLIPTextModel", "text_encoder_2": "T5EncoderModel"},
    tokenizers={"tokenizer": "CLIPTokenizer", "tokenizer_2": "T5TokenizerFast"},
    scheduler="FlowMatchEulerDiscreteScheduler",
    weights={
        **_COMMON,
        "transformer": (
            "config.json",
            "diffusion_pytorch_model.safetensors.index.json",
            *(f"diffusion_pytorch_model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)),
        ),
        "text_encoder_2": (
            "config.json",
            "model.safetensors.index.json",
            *(f"model-{number:05d}-of-00002.safetensors" for number in (1, 2)),
        ),
        "tokenizer_2": ("special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer_config.json"),
    },
    mark=("double_blocks.", "model.diffusion_model.double_blocks."),
    texts="text_encoders.",
)
FAMILIES = {family.name: family for family in (SD15, SDXL, FLUX)}


def family(name: str, where: str) -> Family:
    """A family by its name.

    Raises:
        UserError: there is none.
    """
    if name not in FAMILIES:
        raise UserError(f"{where}: architecture: unknown {name!r}: {suggest(name, FAMILIES)}")
    return FAMILIES[name]


def family_of(path: Path) -> Family:
    """The family of a pipeline folder by its ``model_index.json`` (sd15 without one), of a single file by its tensors' names.

    Raises:
        UserError: a pipeline of another kind, or a damaged file.
    """
    if path.is_file():
        names = tensor_names(path)
        found = [kind for kind in (FLUX, SDXL, SD15) if any(name.startswith(kind.mark) for name in names)]
        return found[0] if found else SD15
    index = path / "model_index.json"
    if not index.is_file():
        return SD15
    try:
        kind = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{index}: cannot be read: {error}") from error
    for known in FAMILIES.values():
        if known.pipeline == kind:
            return known
    expected = " or ".join(known.pipeline for known in FAMILIES.values())
    raise UserError(f"{index}: _class_name: {kind!r} is not supported; expected {expected}")


def tensor_names(path: Path) -> list[str]:
    """The names of the tensors in a safetensors file.

    Raises:
        UserError: it is another kind of file, or damaged.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 1 << 28)))
        return [name for name in header if name != "__metadata__"]
    except (OSError, ValueError, struct.error, TypeError) as error:
        raise UserError(f"{path}: not a safetensors file: {error}") from error
