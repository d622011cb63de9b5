"""A checkpoint on disk under LDM's names: a single file as it is, a diffusers folder translated. Tensors are read one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from afa_bench.architectures.layout import Change, Layout, Link, Part, layout_of, modern
from afa_bench.checkpoints.hashing import hash_file
from afa_bench.checkpoints.safetensors import Reader, Spec
from afa_bench.errors import UserError
from afa_bench.identity import fingerprint
from afa_bench.merging.tensors import listed

FILES: Mapping[Part, str] = {
    "unet": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
    "vae": "diffusion_pytorch_model",
}
"""The parts of a diffusers folder that hold weights, and the name of the file with them."""

VAE_MARK = "decoder.up_blocks.3.resnets.0.norm1.weight"
"""A VAE of fewer levels has no such tensor, and other LDM names."""

OLD_CLIP = "cond_stage_model.transformer."
"""Some single files leave out ``text_model.`` after this."""


class Checkpoint(Protocol):
    """A checkpoint: what is in it by LDM name, and each tensor."""

    path: Path
    layout: Layout

    @property
    def specs(self) -> Mapping[str, Spec]:
        """What is in it."""

    def read(self, key: str) -> Tensor:
        """One tensor."""

    def sha256(self) -> str:
        """Of the weights' bytes; of a folder the fingerprint of its files' hashes."""


class FileCheckpoint:
    """A checkpoint in one safetensors file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = Reader(path)
        self._names = {_with_text_model(key): key for key in self._reader.specs}
        self.specs = {key: self._reader.specs[name] for key, name in self._names.items()}
        self.layout = layout_of(self.specs)

    def read(self, key: str) -> Tensor:
        """One tensor."""
        return self._reader.read(self._names[key])

    def sha256(self) -> str:
        """Of the file."""
        return hash_file(self.path)


class FolderCheckpoint:
    """A checkpoint in the diffusers layout: ``unet/``, and of the text encoders and the VAE what is there.

    Raises:
        UserError: no U-Net, or tensors which the architecture does not have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = {part: _weights(path / part, stem) for part, stem in FILES.items() if (path / part).is_dir()}
        if "unet" not in self._files:
            raise UserError(f"{path}: expected a diffusers folder with unet/, or a .safetensors file")
        readers = [(part, Reader(file)) for part, files in self._files.items() for file in files]
        self.layout = layout_of(key for part, reader in readers if part == "unet" for key in reader.specs)
        self._links: dict[str, Link] = {}
        self._places: dict[tuple[Part, str], tuple[Reader, str]] = {}
        unknown = []
        for part, reader in readers:
            for key in reader.specs:
                link = self.layout.of_diffusers(part, key)
                if link is not None:
                    self._links[link.ldm] = link
                    self._places[part, modern(part, key)] = (reader, key)
                elif not key.endswith("position_ids"):  # those of CLIP G have no place in LDM
                    unknown.append(f"{part}: {key}")
        if "vae" in self._files and ("vae", VAE_MARK) not in self._places:
            raise UserError(f"{path / 'vae'}: expected a VAE of 4 levels as {self.layout.name} has; it has no {VAE_MARK}")
        for link in self._links.values():
            unknown += [f"{link.part}: no {name}" for name in link.diffusers if (link.part, name) not in self._places]
        if unknown:
            raise UserError(f"{path}: {listed(unknown)}: not the tensors of {self.layout.name}")
        self.specs = {ldm: _joined(link.change, self._specs(link)) for ldm, link in self._links.items()}

    def read(self, key: str) -> Tensor:
        """One tensor."""
        link = self._links[key]
        return join(link.change, [reader.read(name) for reader, name in self._found(link)])

    def sha256(self) -> str:
        """The fingerprint of the files' hashes."""
        files = [file for files in self._files.values() for file in files]
        return fingerprint({file.relative_to(self.path).as_posix(): hash_file(file) for file in files})

    def _found(self, link: Link) -> list[tuple[Reader, str]]:
        return [self._places[link.part, name] for name in link.diffusers]

    def _specs(self, link: Link) -> list[Spec]:
        return [reader.specs[name] for reader, name in self._found(link)]


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at a path: a folder in the diffusers layout or a single file.

    Raises:
        UserError: neither, or a damaged one.
    """
    return FolderCheckpoint(path) if path.is_dir() else FileCheckpoint(path)


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


def _weights(folder: Path, stem: str) -> Sequence[Path]:
    """The one file with a part's weights, or its shards; a file of half precision where there is no other."""
    for pattern in (f"{stem}.safetensors", f"{stem}-*-of-*.safetensors", f"{stem}.fp16.safetensors"):
        files = sorted(folder.glob(pattern))
        if files:
            return files
    raise UserError(f"{folder}: expected {stem}.safetensors")


def _with_text_model(key: str) -> str:
    bare = key.startswith(OLD_CLIP) and not key.startswith(OLD_CLIP + "text_model.")
    return f"{OLD_CLIP}text_model.{key.removeprefix(OLD_CLIP)}" if bare else key
