"""A recipe's checkpoints opened and checked: what the result consists of is known before a tensor is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from afa_bench import registry
from afa_bench.architectures.find import find_architecture
from afa_bench.architectures.layout import Layout, Link, Part
from afa_bench.architectures.ldm import UNET, VAE
from afa_bench.architectures.tensors import Shapes
from afa_bench.checkpoints.safetensors import Spec
from afa_bench.errors import UserError
from afa_bench.identity import canonical
from afa_bench.log import LOG
from afa_bench.merging.checkpoint import (
    BESIDE,
    EMA,
    Checkpoint,
    config_of,
    copied,
    join,
    open_checkpoint,
    split,
)
from afa_bench.merging.complete import parts_of, require_complete, shapes_of
from afa_bench.merging.kind import EMPTY, VELOCITY, Kind, common_kind, is_mark
from afa_bench.merging.place import places_of
from afa_bench.merging.recipe import Recipe
from afa_bench.merging.tensors import cast, listed, merge_tensor, require_same_keys
from afa_bench.paths import located

CONV_IN = UNET + "input_blocks.0.0.weight"
"""The convolution that sees the latents, and in inpainting models more beside them."""

POSITIONS = "position_ids"

MODELSPEC = "modelspec."
NOT_OURS = ("modelspec.hash_sha256", "modelspec.thumbnail")
"""Fields of a parent that are not true of the merge, or that are large."""

Advance = Callable[[int], None]


@dataclass(frozen=True)
class PreparedMerge:
    """A recipe with its opened checkpoints: what :func:`prepare` found can be merged.

    Attributes:
        recipe: as read.
        sources: the checkpoints, in its order.
        kind: of all of them, if any says it.
        links: of the tensors that are merged.
        specs: of all tensors of the result, under LDM's names.
        origins: the checkpoints that tensors are copied from.
        like: whose configurations a folder gets.
        notes: what is done otherwise than asked for: a line each, which the package's logger has too.
    """

    recipe: Recipe
    sources: Sequence[Checkpoint]
    kind: Kind | None
    links: Mapping[str, Link]
    specs: Mapping[str, Spec]
    origins: Mapping[str, Checkpoint]
    like: Path | None
    notes: Sequence[str]

    @property
    def layout(self) -> Layout:
        return self.sources[0].layout

    def tensors(self, keys: Iterable[str], advance: Advance) -> Iterator[tuple[str, Tensor]]:
        """These tensors of the result, under LDM's names.

        Raises:
            UserError: one with a value that is no finite number.
        """
        for key in keys:
            yield key, self._merged(self.links[key]) if key in self.links else self._copied(key)
            advance(1)

    def _merged(self, link: Link) -> Tensor:
        """One tensor, piece by piece where diffusers has several: as of the models in memory."""
        tensors = [source.read(link.ldm) for source in self.sources]
        if link.ldm == CONV_IN and len({tensor.shape for tensor in tensors}) > 1:
            common = min(tensor.shape[1] for tensor in tensors)
            found = cast(tensors[0], self.specs[link.ldm].dtype, link.ldm, self.recipe.clamp).clone()
            found[:, :common] = self._computed(link, [tensor[:, :common].contiguous() for tensor in tensors])
            return found
        return self._computed(link, tensors)

    def _computed(self, link: Link, tensors: Sequence[Tensor]) -> Tensor:
        pieces = zip(*(split(link.change, tensor) for tensor in tensors), strict=True)
        method, settings, dtype, clamp = self.recipe.method, self.recipe.settings, self.specs[link.ldm].dtype, self.recipe.clamp
        places = places_of(link, self.layout)
        return join(
            link.change, [merge_tensor(p, method, settings, at, dtype, clamp) for p, at in zip(pieces, places, strict=True)]
        )

    def _copied(self, key: str) -> Tensor:
        spec = self.specs[key]
        if key.endswith(POSITIONS) and self.recipe.position_ids == "reset":
            return torch.arange(spec.shape[-1]).reshape(spec.shape)
        if key not in self.origins:
            return torch.empty(spec.shape, dtype=spec.dtype)  # a mark
        tensor = self.origins[key].read(key)
        weights = tensor.is_floating_point() and (key.startswith(VAE) or not copied(key))
        return cast(tensor, spec.dtype, key, self.recipe.clamp) if weights else tensor.to(spec.dtype)

    def metadata(self) -> dict[str, str]:
        """The recipe, in its order; what it was applied to; and what the models say of themselves."""
        named = dict(zip(self.recipe.names, self.sources, strict=True))
        parents = {name: {k: v for k, v in source.metadata.items() if k not in NOT_OURS} for name, source in named.items()}
        found = {key: value for key, value in parents[self.recipe.names[0]].items() if key.startswith(MODELSPEC)}
        if self.kind is not None and MODELSPEC + "prediction_type" in found:
            found[MODELSPEC + "prediction_type"] = (
                "v" if self.kind.prediction.endswith(VELOCITY) else self.kind.prediction.lower()
            )
        theirs = registry.origin(self.recipe.method.function)
        return found | {
            "format": "pt",
            **{f"afa_bench.method.{name}": value for name, value in theirs.get("origin", {}).items()},
            "afa_bench.recipe": json.dumps(self.recipe.document(), ensure_ascii=False),
            "afa_bench.sources": canonical({name: source.sha256() for name, source in named.items()}),
            "afa_bench.parents": canonical({name: about for name, about in parents.items() if about}),
        }


def prepare(recipe: Recipe, folder: Path) -> PreparedMerge:
    """Open a recipe's models and check that they can be merged, and that the result is complete.

    Args:
        recipe: as read.
        folder: that its paths are relative to.

    Raises:
        UserError: a model that cannot be read or is of another architecture or kind; missing, extra and misshapen tensors, all of
            them listed.
    """
    named = find_architecture(recipe.architecture, "merge: architecture") if recipe.architecture else None
    sources = [open_checkpoint(located(path, folder), named) for path in recipe.models.values()]
    first = sources[0]
    for name, source in zip(recipe.names, sources, strict=True):
        if source.layout != first.layout:
            raise UserError(f"merge: {name} is {source.layout.name}; expected {first.layout.name} as {recipe.names[0]}")
    kinds = {name: source.kind for name, source in zip(recipe.names, sources, strict=True)}
    kind = common_kind(kinds, recipe.prediction_type, recipe.zero_snr)
    merged = [{key: spec for key, spec in source.specs.items() if not copied(key)} for source in sources]
    spare, notes = _spare(recipe, sources, merged)
    notes += _wider(recipe, merged)
    require_same_keys([{key: s for key, s in specs.items() if key not in spare} for specs in merged], recipe.names)
    recipe.require_fit(first.layout)
    vae = sources[recipe.names.index(recipe.vae)] if recipe.vae is not None else first
    origins = {key: first for key in first.specs if copied(key) and not key.startswith((VAE, EMA)) and not is_mark(key)}
    origins |= {key: vae for key in vae.specs if key.startswith(VAE) and not key.startswith(BESIDE)} | spare
    marks = [*kind.marks, *(name for name, _ in kind.schedule)] if kind is not None else []
    origins |= {mark: source for mark in marks for source in reversed(sources) if mark in source.specs}
    specs = {key: spec for key, spec in first.specs.items() if key in merged[0]} | dict.fromkeys(marks, EMPTY)
    specs |= {key: source.specs[key] for key, source in origins.items()}
    links = {key: link for key in merged[0] if key not in spare and (link := first.layout.of_ldm(key)) is not None}
    if recipe.dtype is not None:
        dtype = getattr(torch, recipe.dtype)
        specs = {key: Spec(dtype, spec.shape) if key in links or key in spare else spec for key, spec in specs.items()}
    if recipe.position_ids == "reset":
        specs = {key: Spec(torch.int64, s.shape) if key.endswith(POSITIONS) else s for key, s in specs.items()}
    like = located(recipe.like, folder) if recipe.like is not None else first.path if first.path.is_dir() else None
    notes += _noted(recipe, sources, specs, origins)
    prepared = PreparedMerge(recipe, sources, kind, links, specs, origins, like, notes)
    _require_complete(prepared, vae)
    for note in notes:
        LOG.warning("%s", note)
    return prepared


def _require_complete(merge: PreparedMerge, vae: Checkpoint) -> None:
    parts = parts_of(merge.layout, merge.specs)
    expected: dict[Part, Shapes] = {}
    for part, specs in parts.items():
        config = (vae if part == "vae" else merge.sources[0]).config(part)
        if config is None and merge.like is not None:
            config = config_of(merge.like, part)
        packaged = config_of(merge.sources[0].architecture.configs, part) or {}
        wanted = shapes_of(merge.sources[0].architecture, part, packaged if config is None else config)
        unused = merge.layout.unused.get(part, ())
        expected[part] = {name: shape for name, shape in wanted.items() if name in specs or not name.startswith(unused)}
    require_complete(parts, merge.layout, expected, shapes=False, what=f"merge: {' and '.join(merge.recipe.names)}")


def _spare(
    recipe: Recipe, sources: Sequence[Checkpoint], merged: Sequence[Mapping[str, Spec]]
) -> tuple[dict[str, Checkpoint], list[str]]:
    """The tensors that models may lack, and some do: each with the first model that has it."""
    keys = dict.fromkeys(key for specs in merged for key in specs if key.startswith(sources[0].layout.spare))
    lacking = [key for key in keys if any(key not in specs for specs in merged)]
    found = {key: next(s for s, specs in zip(sources, merged, strict=True) if key in specs) for key in lacking}
    names = dict.fromkeys(recipe.names[sources.index(source)] for source in found.values())
    note = f"copied from {', '.join(names)}, since other models lack them: {listed(lacking)}"
    return found, [note] if found else []


def _wider(recipe: Recipe, merged: Sequence[dict[str, Spec]]) -> list[str]:
    """Models that see more than the latents (inpainting) and others: what they have in common is merged.

    Raises:
        UserError: the first model is not the one that sees more.
    """
    shapes = [specs[CONV_IN].shape for specs in merged if CONV_IN in specs]
    if len(set(shapes)) < 2 or len(shapes) < len(merged) or len({shape[:1] + shape[2:] for shape in shapes}) > 1:
        return []
    channels = [shape[1] for shape in shapes]
    if channels[0] < max(channels) or len({*channels} - {min(channels)}) > 1:
        text = ", ".join(f"{name} sees {count}" for name, count in zip(recipe.names, channels, strict=True))
        raise UserError(f"merge: {text} channels; expected the inpainting model first")
    for specs in merged:
        specs[CONV_IN] = Spec(specs[CONV_IN].dtype, shapes[0])
    return [f"the first {min(channels)} of {channels[0]} input channels are merged, the others are {recipe.names[0]}'s"]


def _noted(
    recipe: Recipe, sources: Sequence[Checkpoint], specs: Mapping[str, Spec], origins: Mapping[str, Checkpoint]
) -> Iterator[str]:
    for name, source in zip(recipe.names, sources, strict=True):
        if source.quantised:
            written = ", which are written in half precision" if source is sources[0] and recipe.dtype is None else ""
            yield f"{name}: {source.quantised} quantised tensors are merged as the values that they stand for{written}"
        averaged = sum(key.startswith(EMA) for key in source.specs)
        if averaged:
            yield f"{name}: {averaged} averaged weights of its training ({EMA}...) are left out"
        beside = [key for key in source.specs if key.startswith(BESIDE)]
        if beside:
            verb = "kept" if source is sources[0] and beside[0] in specs else "left out"
            yield f"{name}: {listed(beside)}: used by no pipeline, {verb}"
    layout = sources[0].layout
    absent = [part for part, prefix in {**layout.texts, "vae": VAE}.items() if not any(key.startswith(prefix) for key in specs)]
    if absent:
        yield f"the models have no {' and no '.join(absent)}"
    lacking = [prefix for prefix in layout.spare if not any(key.startswith(prefix) for key in specs)]
    if lacking and not any(part in absent for part in layout.texts):
        yield f"the models have no {listed(lacking)}: nothing uses it, but diffusers does not load a file without it"
    for key in specs:
        if key.endswith(POSITIONS) and key in origins and recipe.position_ids is None:
            values = origins[key].read(key).flatten()
            if values.tolist() != list(range(len(values))):
                yield f"{key} of {recipe.names[0]} is broken; position_ids: reset in the recipe puts it right"
