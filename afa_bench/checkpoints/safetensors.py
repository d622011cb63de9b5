"""safetensors files a tensor at a time: what is in one is known from its header, and no more than one tensor is in memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from afa_bench.checkpoints.header import read_header
from afa_bench.errors import UserError

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Spec:
    """A tensor before it is read."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return prod(self.shape) * self.dtype.itemsize


class Reader:
    """One file's tensors.

    Args:
        path: a safetensors file.

    Attributes:
        specs: of its tensors, by name.
        metadata: the texts in its header.

    Raises:
        UserError: it is no safetensors file, is damaged, or holds a number format that is not known.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != ".safetensors" or not path.is_file():
            raise UserError(f"{path}: expected a .safetensors file")
        header = read_header(path)
        unknown = {entry.dtype for entry in header.tensors.values()} - DTYPES.keys()
        if unknown:
            raise UserError(f"{path}: number format {', '.join(sorted(unknown))} is not supported")
        self.path = path
        self.metadata = header.metadata
        self.specs = {key: Spec(DTYPES[entry.dtype], entry.shape) for key, entry in header.tensors.items()}
        self._starts = {key: entry.start for key, entry in header.tensors.items()}

    def read(self, key: str) -> Tensor:
        """One tensor, in memory of its own."""
        spec = self.specs[key]
        data = torch.empty(spec.size, dtype=torch.uint8)
        try:
            with self.path.open("rb") as file:
                file.seek(self._starts[key])
                whole = file.readinto(data.numpy().data) == spec.size
        except OSError as error:
            raise UserError(f"{self.path}: {key}: cannot be read: {error.strerror}") from error
        if not whole:
            raise UserError(f"{self.path}: {key}: the file has become shorter while it was read")
        return data.view(spec.dtype).reshape(spec.shape)


def write(file: BinaryIO, specs: Mapping[str, Spec], tensors: Iterable[tuple[str, Tensor]], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file while its tensors come in, in any order; the bytes do not depend on the order.

    Args:
        file: open for writing, empty.
        specs: of all tensors.
        tensors: each of them once.
        metadata: texts for the header.
    """
    order = sorted(specs, key=lambda key: (-specs[key].dtype.itemsize, key))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    starts, end = {}, 0
    for key in order:
        spec = specs[key]
        starts[key], end = end, end + spec.size
        header[key] = {"dtype": NAMES[spec.dtype], "shape": list(spec.shape), "data_offsets": [starts[key], end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for key, tensor in tensors:
        file.seek(8 + len(text) + starts.pop(key))
        file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    if starts:
        raise ValueError(f"{len(starts)} tensors were announced and did not come")
