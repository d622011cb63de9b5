"""A recipe to a checkpoint, tensor by tensor: never more than one tensor of each model in memory, never half a file on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from afa_bench import registry
from afa_bench.architectures.layout import VAE, Link, carried
from afa_bench.checkpoints.safetensors import Spec, write
from afa_bench.errors import UserError
from afa_bench.identity import canonical
from afa_bench.merging.checkpoint import FILES, Checkpoint, join, open_checkpoint, split, split_spec
from afa_bench.merging.place import places_of
from afa_bench.merging.recipe import Recipe
from afa_bench.merging.tensors import listed, merge_tensor, require_same_keys
from afa_bench.paths import located
from afa_bench.store.atomic import new_folder, writing

EMA = "model_ema."
"""Averaged weights of a training: they belong to the unmerged model and are left out."""

SETTINGS = {".json", ".txt", ".model"}
"""Types of the files of a diffusers folder which are copied as they are."""

Advance = Callable[[int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class PreparedMerge:
    """A recipe with its opened sources, checked: what :func:`prepare` found can be merged."""

    recipe: Recipe
    sources: Sequence[Checkpoint]
    links: Mapping[str, Link]
    specs: Mapping[str, Spec]
    vae: Checkpoint
    like: Path | None

    @property
    def first(self) -> Checkpoint:
        """Whose number formats and other tensors the result has."""
        return self.sources[0]

    def tensors(self, keys: Iterable[str], advance: Advance) -> Iterator[tuple[str, Tensor]]:
        """These tensors of the result, under LDM's names."""
        for key in keys:
            if key in self.links:
                merged = self._merged(self.links[key])
            else:
                merged = (self.vae if key.startswith(VAE) else self.first).read(key)
            yield key, merged.to(self.specs[key].dtype)
            advance(1)

    def _merged(self, link: Link) -> Tensor:
        """One tensor, piece by piece where diffusers has several: as of the models in memory."""
        pieces = zip(*(split(link.change, source.read(link.ldm)) for source in self.sources), strict=True)
        places = places_of(link, self.first.layout)
        recipe = self.recipe
        return join(
            link.change, [merge_tensor(p, recipe.method, recipe.settings, at) for p, at in zip(pieces, places, strict=True)]
        )

    def metadata(self) -> dict[str, str]:
        """The recipe and what it was applied to."""
        recipe = self.recipe
        hashes = {name: source.sha256() for name, source in zip(recipe.names, self.sources, strict=True)}
        known = {"format": "pt", "afa_bench.recipe": canonical(recipe.document()), "afa_bench.sources": canonical(hashes)}
        origin = registry.origin(recipe.method.function)
        return known | {f"afa_bench.method.{name}": value for name, value in origin.get("origin", {}).items()}


def prepare(recipe: Recipe, folder: Path) -> PreparedMerge:
    """Open a recipe's models and check that they can be merged.

    Args:
        recipe: as read.
        folder: that its paths are relative to.

    Raises:
        UserError: a model that cannot be read, of another architecture, or with a missing, an extra or a misshapen tensor: all of
            them are listed.
    """
    sources = [open_checkpoint(located(path, folder)) for path in recipe.models.values()]
    first = sources[0]
    for name, source in zip(recipe.names, sources, strict=True):
        if source.layout != first.layout:
            raise UserError(f"merge: {name} is {source.layout.name}; expected {first.layout.name} as {recipe.names[0]}")
        unknown = [key for key in source.specs if not carried(key) and source.layout.of_ldm(key) is None]
        if unknown:
            raise UserError(f"{source.path}: {listed(unknown)}: no tensors of {source.layout.name}")
    require_same_keys([{key: s for key, s in x.specs.items() if not carried(key)} for x in sources], recipe.names)
    recipe.require_fit(first.layout)
    vae = sources[recipe.names.index(recipe.vae)] if recipe.vae is not None else first
    kept = {key: spec for key, spec in first.specs.items() if not key.startswith((EMA, VAE))}
    specs = {**kept, **{key: spec for key, spec in vae.specs.items() if key.startswith(VAE)}}
    links = {key: link for key in specs if not carried(key) and (link := first.layout.of_ldm(key)) is not None}
    if recipe.dtype is not None:
        dtype = getattr(torch, recipe.dtype)
        specs = {key: Spec(dtype, s.shape) if key in links and s.dtype.is_floating_point else s for key, s in specs.items()}
    like = located(recipe.like, folder) if recipe.like is not None else first.path if first.path.is_dir() else None
    return PreparedMerge(recipe, sources, links, specs, vae, like)


def write_merge(merge: PreparedMerge, out: Path, advance: Advance = lambda count: None) -> None:
    """Write the result: a single file where ``out`` ends in ``.safetensors``, else a diffusers folder.

    Args:
        merge: what to write.
        out: nothing is there before the whole is written.
        advance: told the number of tensors done.

    Raises:
        UserError: ``out`` is one of the sources or a folder that exists, or cannot be written.
    """
    if any(out.resolve() == source.path.resolve() for source in merge.sources):
        raise UserError(f"{out}: is one of the models to merge; expected another name")
    if out.suffix == ".safetensors":
        metadata = merge.metadata()
        with writing(out) as file:
            write(file, merge.specs, merge.tensors(merge.specs, advance), metadata)
    else:
        _write_folder(merge, out, advance)


def _write_folder(merge: PreparedMerge, out: Path, advance: Advance) -> None:
    if out.exists():
        raise UserError(f"{out}: exists already; expected the name of a new folder, or of a .safetensors file")
    if merge.like is None or not merge.like.is_dir():
        raise UserError("merge: like: expected a diffusers folder with the configurations and the tokenizer of the result")
    counterparts = {key: link for key in merge.specs if (link := merge.first.layout.of_ldm(key)) is not None}
    metadata = merge.metadata()
    with new_folder(out) as folder:
        _copy_settings(merge.like, folder)
        for part in dict.fromkeys(link.part for link in counterparts.values()):
            links = {key: link for key, link in counterparts.items() if link.part == part}
            specs = dict(pair for key, link in links.items() for pair in _named(link, split_spec(link.change, merge.specs[key])))
            merged = merge.tensors(links, advance)
            tensors = (pair for key, tensor in merged for pair in _named(links[key], split(links[key].change, tensor)))
            (folder / part).mkdir(exist_ok=True)
            with (folder / part / f"{FILES[part]}.safetensors").open("wb") as file:
                write(file, specs, tensors, metadata)


def _named(link: Link, things: Sequence[T]) -> Iterator[tuple[str, T]]:
    return zip(link.diffusers, things, strict=True)


def _copy_settings(source: Path, target: Path) -> None:
    """All of a diffusers folder but its weights: configurations, tokenizers, schedulers."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.suffix in SETTINGS and not path.name.endswith(".index.json"):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
