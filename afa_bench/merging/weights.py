"""The tensors of a part of a checkpoint, whichever files they lie in; quantised ones as the values that they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from afa_bench.checkpoints.parts import read_weights, weight_map
from afa_bench.checkpoints.safetensors import Reader, Spec
from afa_bench.errors import UserError

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
SCALES = (".weight_scale", ".scale_weight")
"""Ends of the names of tensors by which an fp8 ``.weight`` is multiplied: one number, or one a row."""

UNUSED = (".input_scale", ".scale_input", ".comfy_quant")
MARK = "scaled_fp8"
QUANTISED = ("float8_e4m3fn", "float8_e5m2")
"""Formats in ``.comfy_quant`` that are read."""

RESTORED = torch.float16
"""The number format in which the weights of a quantised first model are written."""


class Weights:
    """Tensors by name.

    Args:
        places: name -> the file with it.

    Attributes:
        specs: of the tensors; those that are quantised are of the format :data:`RESTORED`.
        quantised: the scales of those, by the weights' names.

    Raises:
        UserError: weights that are quantised in another way than fp8 with a scale.
    """

    def __init__(self, places: Mapping[str, Reader]) -> None:
        self._places = places
        self.quantised: dict[str, str] = {}
        for key, reader in places.items():
            base, dot, end = key.rpartition(".")
            if dot + end in SCALES:
                self._add(f"{base}.weight", key)
            elif end == "comfy_quant":
                _require_fp8(reader, key)
        plain = [key for key in places if key != MARK and not key.endswith((*SCALES, *UNUSED))]
        self.specs = {key: places[key].specs[key] for key in plain}
        self.specs |= {key: Spec(RESTORED, self.specs[key].shape) for key in self.quantised}

    def read(self, key: str) -> Tensor:
        """One tensor; a quantised one in fp32."""
        tensor = self._places[key].read(key)
        if key not in self.quantised:
            return tensor
        name = self.quantised[key]
        scale = self._places[name].read(name).float()
        return tensor.float() * (scale.reshape(-1, *(1,) * (tensor.dim() - 1)) if scale.numel() > 1 else scale.reshape(()))

    def _add(self, weight: str, scale: str) -> None:
        reader = self._places[scale]
        if weight not in self._places or self._places[weight].specs[weight].dtype not in FP8:
            raise UserError(f"{reader.path}: {scale}: scales no fp8 weight; expected fp8 or plain number formats")
        shape = reader.specs[scale].shape
        rows = self._places[weight].specs[weight].shape[0]
        if Spec(torch.uint8, shape).size not in (1, rows) or (len(shape) > 1 and shape[0] != rows):
            raise UserError(
                f"{reader.path}: {scale}: shape {list(shape)}; expected one number, or one for each of the {rows} rows"
            )
        self.quantised[weight] = scale


def part_files(folder: Path) -> Mapping[str, Reader]:
    """Name -> file of the tensors in a part of a diffusers folder: one file, or the shards that its index lists.

    Raises:
        UserError: none, several, shards without an index, or an index that does not fit them.
    """
    chosen, files = read_weights(folder)
    readers = {path.name: Reader(path) for path in files}
    main = folder / chosen.main
    places = weight_map(main) if main not in files else dict.fromkeys(readers[main.name].specs, main.name)
    for key, name in places.items():
        if key not in readers[name].specs:
            raise UserError(f"{main}: {key}: is not in {name}")
    return {key: readers[name] for key, name in places.items()}


def files_of(places: Mapping[str, Reader]) -> Sequence[Path]:
    """The files that tensors lie in."""
    return list(dict.fromkeys(reader.path for reader in places.values()))


def _require_fp8(reader: Reader, key: str) -> None:
    try:
        found = json.loads(bytes(reader.read(key).flatten().tolist()))["format"]
    except (ValueError, TypeError, KeyError):
        found = None
    if found not in QUANTISED:
        raise UserError(f"{reader.path}: {key}: quantised as {found!r}; expected {' or '.join(QUANTISED)}")
