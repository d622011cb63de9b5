"""The names of a checkpoint's tensors, as data: LDM's (single files) and diffusers' (folders), and the block that each is in.

A layout is a table of rows. A row says that all tensors below one LDM name are those below one diffusers name, and to which of
the blocks of a block-weighted merge they belong. Everything else is a lookup of the longest prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

Part: TypeAlias = str
"""A folder of the diffusers layout: ``unet``, ``text_encoder``, ``vae`` ..."""

Change = Literal["same", "thirds", "transposed", "convolution"]
"""How LDM's tensor differs from diffusers': not at all; three of them in a row; transposed; with two more axes of length 1."""

BASE = "BASE"
TIME = "time embedding"
"""The block of the embeddings of time and size, before an option says where they go."""

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What older diffusers folders call the projections of a VAE's attention."""


@dataclass(frozen=True)
class Row:
    """Tensors below the LDM name ``ldm`` are those below the diffusers names ``diffusers`` (one; three for ``thirds``)."""

    ldm: str
    part: Part
    diffusers: tuple[str, ...]
    block: str
    change: Change = "same"


@dataclass(frozen=True)
class Link:
    """One LDM tensor and its counterparts in a diffusers folder."""

    ldm: str
    part: Part
    diffusers: tuple[str, ...]
    block: str
    change: Change


@dataclass(frozen=True)
class Layout:
    """An architecture's names.

    Attributes:
        name: as in messages.
        blocks: the weights of a block-weighted merge, in order: ``IN00 ... M00 ... OUT..``; 25 for SD 1.5, 19 for SDXL.
        rows: the whole table.
        deepest: of a part, a diffusers name that one with fewer levels lacks: its other tensors would have other LDM names.
        texts: the text encoders: folder in the diffusers layout -> LDM prefix.
        unused: of a part, what begins diffusers' names of tensors that no pipeline uses, so that some checkpoints lack them.
        spare: what begins their LDM names: a merge takes them from the first model that has them.
    """

    name: str
    blocks: tuple[str, ...]
    rows: tuple[Row, ...]
    deepest: Mapping[Part, str]
    texts: Mapping[Part, str] = field(default_factory=dict)
    unused: Mapping[Part, tuple[str, ...]] = field(default_factory=dict)
    spare: tuple[str, ...] = ()

    @cached_property
    def _by_ldm(self) -> Mapping[str, Row]:
        return {row.ldm: row for row in self.rows}

    @cached_property
    def _by_diffusers(self) -> Mapping[tuple[Part, str], Row]:
        return {(row.part, name): row for row in self.rows for name in row.diffusers}

    def of_ldm(self, key: str) -> Link | None:
        """The counterparts of an LDM tensor, or None where diffusers has none."""
        for prefix, rest in _prefixes(key):
            if prefix in self._by_ldm:
                return _link(self._by_ldm[prefix], rest)
        return None

    def of_diffusers(self, part: Part, key: str) -> Link | None:
        """The LDM counterpart of a tensor of a diffusers folder, or None where LDM has none."""
        for prefix, rest in _prefixes(modern(part, key)):
            if (part, prefix) in self._by_diffusers:
                return _link(self._by_diffusers[part, prefix], rest)
        return None


def _prefixes(key: str) -> Iterator[tuple[str, str]]:
    """A name cut in two at each of its dots, the longest first part first."""
    rest = ""
    while key:
        yield key, rest
        key, dot, last = key.rpartition(".")
        rest = dot + last + rest


def _link(row: Row, rest: str) -> Link:
    return Link(row.ldm + rest, row.part, tuple(name + rest for name in row.diffusers), row.block, row.change)


def modern(part: Part, key: str) -> str:
    """A diffusers name as it is now: text encoders begin with ``text_model``, a VAE's attention has the U-Net's names."""
    if part == "vae":
        return ".".join(OLD_NAMES.get(word, word) for word in key.split("."))
    bare = part != "unet" and not key.startswith(("text_model.", "text_projection."))
    return f"text_model.{key}" if bare else key
