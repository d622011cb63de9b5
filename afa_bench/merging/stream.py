"""A recipe to a checkpoint, tensor by tensor: never more than one tensor of each model in memory, never half a file on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from afa_bench.architectures.layout import VAE, Link, carried
from afa_bench.checkpoints.safetensors import Spec, write
from afa_bench.errors import UserError
from afa_bench.identity import canonical
from afa_bench.merging.core import listed, merge_tensor, require_same_keys
from afa_bench.merging.recipe import Recipe
from afa_bench.merging.sources import FILES, Source, open_source, split, split_spec
from afa_bench.store.atomic import new_folder, writing

EMA = "model_ema."
"""Averaged weights of a training: they belong to the unmerged model and are left out."""

SETTINGS = {".json", ".txt", ".model"}
"""Types of the files of a diffusers folder which are copied as they are."""

Advance = Callable[[int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A recipe with its opened sources, checked: what :func:`open_recipe` found can be merged."""

    recipe: Recipe
    sources: Sequence[Source]
    links: Mapping[str, Link]
    specs: Mapping[str, Spec]
    vae: Source
    like: Path | None

    @property
    def first(self) -> Source:
        """Whose number formats and other tensors the result has."""
        return self.sources[0]

    def tensors(self, keys: Iterable[str], advance: Advance) -> Iterator[tuple[str, Tensor]]:
        """These tensors of the result, under LDM's names."""
        form, by_block = self.recipe.function(), self.recipe.by_block(self.first.layout)
        for key in keys:
            if key in self.links:
                tensors = [source.read(key) for source in self.sources]
                merged = merge_tensor(key, tensors, form, by_block[self.links[key].block])
            else:
                merged = (self.vae if key.startswith(VAE) else self.first).read(key)
            yield key, merged.to(self.specs[key].dtype)
            advance(1)

    def metadata(self) -> dict[str, str]:
        """The recipe and what it was applied to."""
        hashes = {name: source.sha256() for name, source in zip(self.recipe.names, self.sources, strict=True)}
        recipe = self.recipe.model_dump(mode="json", exclude_none=True)
        return {"format": "pt", "afa_bench.recipe": canonical(recipe), "afa_bench.sources": canonical(hashes)}


def open_recipe(recipe: Recipe, folder: Path) -> Job:
    """Open a recipe's models and check that they can be merged.

    Args:
        recipe: as read.
        folder: that its paths are relative to.

    Raises:
        UserError: a model that cannot be read, of another architecture, or with a missing, an extra or a misshapen tensor: all of
            them are listed.
    """
    sources = [open_source(folder / path) for path in recipe.models.values()]
    first = sources[0]
    for name, source in zip(recipe.names, sources, strict=True):
        if source.layout != first.layout:
            raise UserError(f"merge: {name} is {source.layout.name}; expected {first.layout.name} as {recipe.names[0]}")
        unknown = [key for key in source.specs if not carried(key) and source.layout.of_ldm(key) is None]
        if unknown:
            raise UserError(f"{source.path}: {listed(unknown)}: no tensors of {source.layout.name}")
    require_same_keys([{key: s for key, s in x.specs.items() if not carried(key)} for x in sources], recipe.names)
    recipe.by_block(first.layout)
    vae = sources[recipe.names.index(recipe.vae)] if recipe.vae is not None else first
    kept = {key: spec for key, spec in first.specs.items() if not key.startswith((EMA, VAE))}
    specs = {**kept, **{key: spec for key, spec in vae.specs.items() if key.startswith(VAE)}}
    links = {key: link for key in specs if not carried(key) and (link := first.layout.of_ldm(key)) is not None}
    if recipe.dtype is not None:
        dtype = getattr(torch, recipe.dtype)
        specs = {key: Spec(dtype, s.shape) if key in links and s.dtype.is_floating_point else s for key, s in specs.items()}
    like = folder / recipe.like if recipe.like is not None else first.path if first.path.is_dir() else None
    return Job(recipe, sources, links, specs, vae, like)


def merge_to(job: Job, out: Path, advance: Advance = lambda count: None) -> None:
    """Write the result: a single file where ``out`` ends in ``.safetensors``, else a diffusers folder.

    Args:
        job: what to merge.
        out: nothing is there before the whole is written.
        advance: told the number of tensors done.

    Raises:
        UserError: ``out`` is one of the sources or a folder that exists, or cannot be written.
    """
    if any(out.resolve() == source.path.resolve() for source in job.sources):
        raise UserError(f"{out}: is one of the models to merge; expected another name")
    if out.suffix == ".safetensors":
        metadata = job.metadata()
        with writing(out) as file:
            write(file, job.specs, job.tensors(job.specs, advance), metadata)
    else:
        _merge_to_folder(job, out, advance)


def _merge_to_folder(job: Job, out: Path, advance: Advance) -> None:
    if out.exists():
        raise UserError(f"{out}: exists already; expected the name of a new folder, or of a .safetensors file")
    if job.like is None or not job.like.is_dir():
        raise UserError("merge: like: expected a diffusers folder with the configurations and the tokenizer of the result")
    counterparts = {key: link for key in job.specs if (link := job.first.layout.of_ldm(key)) is not None}
    metadata = job.metadata()
    with new_folder(out) as folder:
        _copy_settings(job.like, folder)
        for part in dict.fromkeys(link.part for link in counterparts.values()):
            links = {key: link for key, link in counterparts.items() if link.part == part}
            specs = dict(pair for key, link in links.items() for pair in _named(link, split_spec(link.change, job.specs[key])))
            merged = job.tensors(links, advance)
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
