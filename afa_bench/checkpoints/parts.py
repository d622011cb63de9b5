"""Which files of a folder are a model: those that a loader reads, and none that lie beside them. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from afa_bench.errors import UserError
from afa_bench.store.atomic import read_json

CONFIG, SUFFIX = "config.json", ".safetensors"
WHOLE = "tokenizer.json"
VOCABULARY = (
    *("added_tokens.json", "merges.txt", "special_tokens_map.json", WHOLE, "tokenizer_config.json", "vocab.json", "vocab.txt"),
    *("spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
)
"""What a tokenizer is read from: whatever is there of these; the last ones where there is no ``tokenizer.json``."""

_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?P<before>\.[^.]+?)?(?P<shard>-\d+-of-\d+)?(?P<after>\.[^.]+)?"
    r"\.safetensors(?:\.index(?P<last>\.[^.]+)?\.json)?"
)
"""What diffusers and transformers call a file of weights, a shard and an index of shards; each may be a variant's (``.fp16``)."""


@dataclass(frozen=True)
class Weights:
    """The files of one folder that hold a model's weights, by their names.

    Attributes:
        main: the file, or the index of shards.
        shards: what may belong to the index.
        variant: such as ``fp16``; None: the usual one.
    """

    main: str
    shards: tuple[str, ...] = ()
    variant: str | None = None


def choose(names: Iterable[str], where: str, variant: str | None = None) -> Weights:
    """The weights among the names of a folder's files: of the variant that is asked for; the usual ones, else the only variant.

    Raises:
        UserError: none, several, or shards without an index.
    """
    whole: dict[str, list[str]] = {}
    shards: dict[str, list[str]] = {}
    names = sorted(names)
    for name in names:
        if found := _WEIGHTS.fullmatch(name):
            kind = (found["before"] or found["after"] or found["last"] or "").lstrip(".")
            (shards if found["shard"] else whole).setdefault(kind, []).append(name)
    kind = variant or ("" if "" in whole or len(whole) != 1 else next(iter(whole)))
    chosen = whole.get(kind, [])
    if not chosen and (parts := shards.get(kind)):
        raise UserError(f"{where}: {parts[0]}: a shard without its index (....safetensors.index.json), which lists them all")
    if len(chosen) != 1:
        others = chosen or [name for name in names if name.endswith((".safetensors", ".bin", ".ckpt", ".pt", ".gguf"))]
        raise UserError(f"{where}: expected a .safetensors file of weights, or its index, found {', '.join(others) or 'neither'}")
    return Weights(chosen[0], tuple(shards.get(kind, ())) if chosen[0].endswith(".json") else (), kind or None)


def read_weights(folder: Path, variant: str | None = None) -> tuple[Weights, list[Path]]:
    """What :func:`choose` finds in a folder, and the files with tensors: of shards those that the index lists.

    Raises:
        UserError: as that, or an index that cannot be read.
    """
    weights = choose(visible(folder), str(folder), variant)
    main = folder / weights.main
    names = dict.fromkeys(weight_map(main).values()) if main.suffix == ".json" else [main.name]
    return weights, [folder / name for name in names]


def part_folder(folder: Path, part: str) -> Path:
    """Where a part of a pipeline is: its folder; the model's own, where that is nothing but a denoiser."""
    place = folder / part
    return folder if not place.is_dir() and (folder / CONFIG).is_file() else place


def weight_map(index: Path) -> Mapping[str, str]:
    """The name of the file with each tensor, by an index of shards.

    Raises:
        UserError: it cannot be read, or names files elsewhere.
    """
    document = read_json(index)
    places = document.get("weight_map") if isinstance(document, Mapping) else None
    if not isinstance(places, Mapping) or not all(isinstance(name, str) and Path(name).name == name for name in places.values()):
        raise UserError(f"{index}: weight_map: expected the file of each tensor")
    return places


def visible(folder: Path) -> list[str]:
    """The names of the files in a folder, but those that programs hide (``._model.safetensors``); none where it is not there."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in found if path.is_file() and not path.name.startswith("."))


def vocabulary(names: Iterable[str]) -> list[str]:
    """The files that a tokenizer is read from, among the names of those in a folder."""
    there = set(names)
    return [name for name in VOCABULARY if name in there and not (name.endswith(".model") and WHOLE in there)]


def below(folder: Path, *suffixes: str) -> list[Path]:
    """The files with these suffixes in a folder and below, but hidden ones and those in hidden folders."""
    found = (path for path in sorted(folder.rglob("*")) if path.suffix in suffixes)
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def files_of(folder: Path) -> list[Path]:
    """The files that fix what is computed with a folder of weights.

    Where they are called as diffusers and transformers call them these, their configuration and vocabulary; of any other folder
    all weights, configurations and vocabularies in it and below.

    Raises:
        UserError: as :func:`read_weights`.
    """
    names = visible(folder)
    if not any(map(_WEIGHTS.fullmatch, names)):
        return below(folder, SUFFIX, ".json", ".txt")
    weights, tensors = read_weights(folder)
    beside = [name for name in (CONFIG, weights.main, *vocabulary(names)) if name in names]
    return list(dict.fromkeys([*(folder / name for name in beside), *tensors]))
