"""A checkpoint on disk under LDM's names: a single file as it is, a diffusers folder translated. Tensors are read one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from afa_bench.architectures.base import Architecture
from afa_bench.architectures.contents import described
from afa_bench.architectures.find import architecture_of, architecture_with
from afa_bench.architectures.kind import Kind, is_mark, kind_of_folder, kind_of_marks
from afa_bench.architectures.layout import Change, Layout, Link, Part, modern
from afa_bench.architectures.ldm import carried
from afa_bench.architectures.names import ldm_names
from afa_bench.checkpoints.hashing import hash_file
from afa_bench.checkpoints.parts import part_folder
from afa_bench.checkpoints.safetensors import Reader, Spec
from afa_bench.errors import UserError
from afa_bench.identity import fingerprint
from afa_bench.merging.tensors import listed
from afa_bench.merging.weights import Weights, files_of, part_files
from afa_bench.store.atomic import read_json

FILES: Mapping[Part, str] = {
    "unet": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
    "vae": "diffusion_pytorch_model",
}
"""The parts of a diffusers folder that hold weights, and the name of the file with them."""

EMA = "model_ema."
"""Averaged weights of a training: they belong to the unmerged model and are left out."""

BESIDE = (
    *(
        "global_step",
        "embedding_manager.",
        "cond_stage_model.logit_scale",
        "cond_stage_model.transformer.text_projection.",
        "cond_stage_model.transformer.logit_scale",
    ),
    *("conditioner.embedders.0.logit_scale", "conditioner.embedders.0.transformer.text_projection."),
    *("conditioner.embedders.0.transformer.logit_scale", "first_stage_model.loss.", "first_stage_model.model_ema."),
)
"""Begin names of tensors that some files have and no pipeline uses: those of the first model stay, others are left out."""


class Checkpoint(Protocol):
    """What is in a checkpoint by LDM name, and each tensor.

    Attributes:
        path: of the file or the folder.
        architecture: its own; ``layout`` is this architecture's.
        kind: what it predicts; None: it does not say.
        metadata: the texts in a single file's header.
        specs: its tensors, quantised ones as they are restored.
        quantised: how many of them were quantised.
    """

    path: Path
    architecture: Architecture
    layout: Layout
    kind: Kind | None
    metadata: Mapping[str, str]
    specs: Mapping[str, Spec]
    quantised: int

    def read(self, key: str) -> Tensor: ...

    def sha256(self) -> str:
        """Of the weights' bytes; of a folder the fingerprint of its files' hashes."""

    def config(self, part: Part) -> Mapping[str, Any] | None:
        """A part's configuration, if it has one of its own."""


class FileCheckpoint:
    """A checkpoint in one safetensors file."""

    def __init__(self, path: Path, architecture: Architecture | None = None) -> None:
        reader = Reader(path)
        self.path = path
        self.metadata: Mapping[str, str] = reader.metadata
        self._weights = Weights(dict.fromkeys(reader.specs, reader))
        self._names = {name: key for key, name in ldm_names(self._weights.specs).items()}
        self.specs: Mapping[str, Spec] = {key: self._weights.specs[name] for key, name in self._names.items()}
        self.quantised = len(self._weights.quantised)
        self.architecture = architecture or architecture_with(self.specs, path)
        self.layout = self.architecture.require_layout(str(path))
        marks = {key: tuple(self.read(key).flatten().tolist()) for key in self.specs if is_mark(key)}
        self.kind: Kind | None = kind_of_marks(marks, reader.metadata)

    def read(self, key: str) -> Tensor:
        return self._weights.read(self._names[key])

    def sha256(self) -> str:
        return hash_file(self.path)

    def config(self, part: Part) -> None:
        return None


class FolderCheckpoint:
    """A checkpoint in the diffusers layout: ``unet/``, and of the text encoders and the VAE what is there.

    Raises:
        UserError: no U-Net, an architecture without a merge layout, or tensors which it does not have.
    """

    def __init__(self, path: Path, architecture: Architecture | None = None) -> None:
        self.path = path
        self.metadata: Mapping[str, str] = {}
        folders = {part: path / part for part in FILES} | {"unet": part_folder(path, "unet")}
        places = {part: part_files(folder) for part, folder in folders.items() if folder.is_dir()}
        if "unet" not in places:
            (architecture or architecture_of(path)).require_layout(str(path))
            raise UserError(f"{path}: expected a diffusers folder with unet/, or a .safetensors file")
        self._files = [file for part in places.values() for file in files_of(part)]
        self._weights = {part: Weights(readers) for part, readers in places.items()}
        self.quantised = sum(len(weights.quantised) for weights in self._weights.values())
        self.architecture = architecture or architecture_with(self._weights["unet"].specs, path)
        self.layout = self.architecture.require_layout(str(path))
        self.kind: Kind | None = kind_of_folder(path)
        self._links: dict[str, Link] = {}
        self._names: dict[tuple[Part, str], str] = {}
        unknown = []
        for part, weights in self._weights.items():
            for key in weights.specs:
                link = self.layout.of_diffusers(part, key)
                if link is not None:
                    self._links[link.ldm] = link
                    self._names[part, modern(part, key)] = key
                elif not key.endswith("position_ids"):  # those of CLIP G have no place in LDM
                    unknown.append(f"{part}: {key}")
        for part, name in self.layout.deepest.items():
            if part in places and (part, name) not in self._names:
                raise UserError(f"{path / part}: expected a {part} of as many levels as {self.layout.name}'s; it has no {name}")
        for link in self._links.values():
            unknown += [f"{link.part}: no {name}" for name in link.diffusers if (link.part, name) not in self._names]
        if unknown:
            raise UserError(f"{path}: {listed(unknown)}: not the tensors of {self.layout.name}")
        self.specs: Mapping[str, Spec] = {ldm: _joined(link.change, self._specs(link)) for ldm, link in self._links.items()}

    def read(self, key: str) -> Tensor:
        link = self._links[key]
        return join(link.change, [self._weights[link.part].read(name) for name in self._found(link)])

    def sha256(self) -> str:
        return fingerprint({file.relative_to(self.path).as_posix(): hash_file(file) for file in self._files})

    def config(self, part: Part) -> Mapping[str, Any] | None:
        return config_of(self.path, part)

    def _found(self, link: Link) -> list[str]:
        return [self._names[link.part, name] for name in link.diffusers]

    def _specs(self, link: Link) -> list[Spec]:
        return [self._weights[link.part].specs[name] for name in self._found(link)]


def open_checkpoint(path: Path, architecture: Architecture | None = None) -> Checkpoint:
    """The checkpoint at a path: a folder in the diffusers layout or a single file.

    Args:
        path: of either.
        architecture: its own; by default what the checkpoint says.

    Raises:
        UserError: neither, a damaged one, or one of another architecture.
    """
    found: Checkpoint = (FolderCheckpoint if path.is_dir() else FileCheckpoint)(path, architecture)
    unknown = [key for key in found.specs if not copied(key) and found.layout.of_ldm(key) is None]
    if unknown:
        what = described(found.specs)
        raise UserError(f"{path}: {what or f'{listed(unknown)}: no tensors of {found.layout.name}'}")
    if other := found.architecture.mistaken({key: tuple(spec.shape) for key, spec in found.specs.items()}):
        raise UserError(f"{path}: is a model of {other}; expected {found.architecture.title}")
    whole = [key for key, spec in found.specs.items() if not copied(key) and not spec.dtype.is_floating_point]
    if whole:
        raise UserError(f"{path}: {listed(whole)}: whole numbers (quantised?); expected floating point or fp8")
    return found


def copied(key: str) -> bool:
    """Whether an LDM tensor is copied from one model, or left out, instead of being merged."""
    return carried(key) or is_mark(key) or key.startswith(BESIDE)


def config_of(folder: Path, part: Part) -> Mapping[str, Any] | None:
    """The configuration of a part of a diffusers folder, None where there is none.

    Raises:
        UserError: a damaged one.
    """
    found = read_json((part_folder(folder, part) if part == "unet" else folder / part) / "config.json")
    if found is not None and not isinstance(found, Mapping):
        raise UserError(f"{folder / part / 'config.json'}: expected a mapping")
    return found


def join(change: Change, tensors: Sequence[Tensor]) -> Tensor:
    """LDM's tensor from diffusers'."""
    if change == "thirds":
        return torch.cat(list(tensors))
    if change == "transposed":
        return tensors[0].T.contiguous()
    return tensors[0][..., None, None] if change == "convolution" and tensors[0].dim() == 2 else tensors[0]


def split(change: Change, tensor: Tensor) -> Sequence[Tensor]:
    """diffusers' tensors from LDM's."""
    if change == "thirds":
        return tensor.chunk(3)
    if change == "transposed":
        return (tensor.T.contiguous(),)
    return (tensor.flatten(1),) if change == "convolution" else (tensor,)


def _joined(change: Change, specs: Sequence[Spec]) -> Spec:
    """What :func:`join` makes of tensors of these shapes."""
    return _spec(join(change, [torch.empty(spec.shape, dtype=spec.dtype, device="meta") for spec in specs]))


def split_spec(change: Change, spec: Spec) -> Sequence[Spec]:
    """What :func:`split` makes of a tensor of this shape."""
    return [_spec(tensor) for tensor in split(change, torch.empty(spec.shape, dtype=spec.dtype, device="meta"))]


def _spec(tensor: Tensor) -> Spec:
    return Spec(tensor.dtype, tuple(tensor.shape))
