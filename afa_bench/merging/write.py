"""A merge to disk, tensor by tensor: no more than one tensor of each model in memory, never half a file, nothing incomplete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from afa_bench.architectures.kind import SCHEDULER, Kind, changes, kind_of_folder
from afa_bench.architectures.layout import Link, Part
from afa_bench.architectures.tensors import Shapes
from afa_bench.checkpoints.safetensors import write
from afa_bench.errors import UserError
from afa_bench.log import LOG
from afa_bench.merging.checkpoint import FILES, config_of, split, split_spec
from afa_bench.merging.complete import parts_of, require_complete, shapes_of
from afa_bench.merging.merge import Advance, PreparedMerge
from afa_bench.paths import expanded
from afa_bench.store.atomic import json_text, new_folder, read_json, writing

FILE = ".safetensors"

OTHERS = (".ckpt", ".pt", ".pth", ".bin", ".sft", ".pkl", ".gguf", ".onnx", ".npz", ".yaml", ".yml", ".json")
"""Ends of the names of other kinds of files: no folder is meant."""

SETTINGS = {".json", ".txt", ".model"}
"""Types of the files of a diffusers folder which are copied as they are."""

INDEX = "model_index.json"

T = TypeVar("T")


def destination(out: Path, force: bool = False) -> Path:
    """Where a merge goes, as users write it.

    Raises:
        UserError: something is there already (a file may be replaced with ``force``), or it is the name of another kind of file.
    """
    out = expanded(out)
    if out.suffix.lower() in OTHERS:
        raise UserError(f"{out}: expected a name that ends in {FILE}, or that of a new folder")
    for folder in out.parents:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{out}: {folder} is no folder")
    if out.suffix.lower() != FILE and out.exists():
        raise UserError(f"{out}: exists already; expected the name of a new folder, or of a {FILE} file")
    if out.is_dir() or (out.exists() and not force):
        raise UserError(f"{out}: exists already; expected another name" + ("" if out.is_dir() else ", or --force to replace it"))
    return out


def write_merge(merge: PreparedMerge, out: Path, advance: Advance = lambda count: None, force: bool = False) -> None:
    """Write the result: a single file where ``out`` ends in ``.safetensors``, else a diffusers folder.

    Args:
        merge: what to write.
        out: nothing is there before the whole is written.
        advance: told the number of tensors done.
        force: whether an existing file is replaced.

    Raises:
        UserError: ``out`` is one of the sources or exists, or cannot be written; a value that is no finite number; a folder that
            would not be complete.
    """
    if any(expanded(out).resolve() == source.path.resolve() for source in merge.sources):
        raise UserError(f"{out}: is one of the models to merge; expected another name")
    out = destination(out, force)
    if out.suffix.lower() != FILE:
        _write_folder(merge, out, advance)
        return
    metadata = merge.metadata()
    with writing(out) as file:
        write(file, merge.specs, merge.tensors(merge.specs, advance), metadata)


def _write_folder(merge: PreparedMerge, out: Path, advance: Advance) -> None:
    like = merge.like
    if like is None or not like.is_dir():
        raise UserError("merge: like: expected a diffusers folder with the configurations and the tokenizer of the result")
    _require_like(merge, like)
    links = {key: link for key in merge.specs if (link := merge.layout.of_ldm(key)) is not None}
    parts = dict.fromkeys(link.part for link in links.values())
    others = _others(like, parts)
    scheduler = _scheduler(merge, like)
    metadata = merge.metadata()
    with new_folder(out) as folder:
        _copy(like, folder, [*(path for path in like.iterdir() if path.is_file()), *(like / name for name in [*parts, *others])])
        for name in others:
            for path in sorted((like / name).glob("*.safetensors*")):
                shutil.copyfile(path, folder / name / path.name)
        if scheduler is not None:
            (folder / SCHEDULER).write_text(json_text(scheduler), encoding="utf-8")
        for part in parts:
            own = {key: link for key, link in links.items() if link.part == part}
            specs = dict(pair for key, link in own.items() for pair in _named(link, split_spec(link.change, merge.specs[key])))
            merged = merge.tensors(own, advance)
            tensors = (pair for key, tensor in merged for pair in _named(own[key], split(own[key].change, tensor)))
            with (folder / part / f"{FILES[part]}{FILE}").open("wb") as file:
                write(file, specs, tensors, metadata)
    if copied := [name for name in others if any((like / name).glob(f"*{FILE}"))]:
        LOG.warning("%s: copied from %s", ", ".join(copied), like)
    if scheduler is not None:
        LOG.warning("%s: set to %s", SCHEDULER, merge.kind)


def _require_like(merge: PreparedMerge, like: Path) -> None:
    """Raise a UserError unless the configurations in a folder are those of the merged parts."""
    parts = parts_of(merge.layout, merge.specs)
    expected: dict[Part, Shapes] = {}
    for part in parts:
        config = config_of(like, part)
        if config is None:
            raise UserError(
                f"{like}: no {part}/config.json; expected like: of a folder with the configurations of the merged parts"
            )
        expected[part] = shapes_of(merge.sources[0].architecture, part, config)
    require_complete(parts, merge.layout, expected, shapes=True, what=f"{like}")


def _others(like: Path, parts: Mapping[Part, None]) -> list[str]:
    """The folder's other components that belong to its pipeline: each with its weights, if it is a model.

    Raises:
        UserError: one that the pipeline's index names is not there, or a model's weights are not.
    """
    index = read_json(like / INDEX)
    folders = sorted(path.name for path in like.iterdir() if path.is_dir() and not path.name.startswith("."))
    if isinstance(index, Mapping):
        wanted = [name for name, kind in index.items() if isinstance(kind, list) and any(word is not None for word in kind)]
        for name in wanted:
            if name not in folders and name not in parts:
                raise UserError(f"{like / INDEX}: {name}: no such folder; expected a folder with all of its parts")
        folders = [name for name in folders if name in wanted]
    others = [name for name in folders if name not in parts]
    for name in others:
        if (like / name / "config.json").is_file() and not any((like / name).glob(f"*{FILE}")):
            raise UserError(
                f"{like / name}: a configuration without weights ({FILE}), which the models to merge do not have either; "
                "expected a folder with all of its parts"
            )
    return others


def _scheduler(merge: PreparedMerge, like: Path) -> dict[str, Any] | None:
    """The scheduler's settings, where they have to differ from the folder's for the models to be what they are."""
    kind, theirs = merge.kind, kind_of_folder(like)
    if kind is None or (theirs is None and kind == Kind()) or (kind == theirs and not kind.discrete):
        return None
    if theirs is None or not (kind.discrete and theirs.discrete):
        found = "no scheduler" if theirs is None else f"a scheduler for {theirs}"
        raise UserError(f"{like}: has {found}; expected like: of a folder with one for {kind}, as the models are")
    settings = read_json(like / SCHEDULER)
    different = changes(settings, kind)
    return {**settings, **different} if different else None


def _named(link: Link, things: Sequence[T]) -> Iterator[tuple[str, T]]:
    return zip(link.diffusers, things, strict=True)


def _copy(source: Path, target: Path, paths: Sequence[Path]) -> None:
    """All of these files and folders but weights: configurations, tokenizers, schedulers."""
    for root in paths:
        for path in sorted([root] if root.is_file() else root.rglob("*")):
            if path.is_file() and path.suffix in SETTINGS and not path.name.endswith(".index.json"):
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
