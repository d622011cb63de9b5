"""What a safetensors file holds, by its header alone: checked by the safetensors library, read without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from afa_bench.errors import UserError, unreadable

PLAIN = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Number formats whose numbers are the weights themselves."""

SCALES = ("scale_weight", "weight_scale", "weight_scale_2", "comfy_quant")
"""End names of tensors that say what numbers stand for."""


@dataclass(frozen=True)
class Entry:
    """A tensor: its number format as the file calls it, its lengths, its first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Header:
    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """A file's header.

    Raises:
        UserError: no safetensors file; one of another length than it says, with a tensor twice, or with tensors that overlap.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError("the header is cut off")
            header = json.loads(file.read(length), object_pairs_hook=_once)
        metadata = header.pop("__metadata__", {})
        promised = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        tensors = {
            name: Entry(str(entry["dtype"]), tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
            for name, entry in header.items()
        }
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, struct.error, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not a safetensors file: {error}") from error
    if size != promised:
        raise UserError(f"{path}: truncated or damaged: expected {promised} bytes, found {size}")
    try:
        with safe_open(path, "np"):
            return Header(tensors, metadata)
    except (SafetensorError, OSError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise UserError(f"{path}: not a safetensors file: {reason}") from error


def require_plain(path: Path) -> None:
    """Raise a UserError for a file that does not read, or whose weights are other numbers than those in it (quantised)."""
    for name, entry in read_header(path).tensors.items():
        if name.endswith(SCALES) or (name.endswith(".weight") and entry.dtype not in PLAIN):
            raise UserError(
                f"{path}: {name}: quantised weights (scales, or {entry.dtype}) are not read here; expected plain number formats; "
                "of fp8 with scales, `afa-bench merge` of this file alone writes them"
            )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is specified twice")
    return found
