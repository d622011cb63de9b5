"""Which architecture: by its name, by a checkpoint, by a model in memory; all registered ones are asked in turn.

Imports no torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from afa_bench import registry
from afa_bench.architectures.base import Architecture
from afa_bench.architectures.names import ldm_names
from afa_bench.checkpoints.header import read_header
from afa_bench.errors import UserError

DEFAULT = "sd15"
"""The architecture of a checkpoint that has no mark of any."""

INDEX = "model_index.json"


def find_architecture(name: str, where: str = "", folder: Path | None = None) -> Architecture:
    """An architecture by the name that it is registered under, or by its file.

    Args:
        name: as a group's file has it.
        where: file and key, for the error's first words.
        folder: that a file's path is relative to.

    Raises:
        UserError: there is none.
    """
    found: Architecture = registry.load("architectures", name, where, folder)()
    return found


def all_architectures() -> list[Architecture]:
    """Every registered one, by name; what does not load is left out, and said."""
    found = []
    for name in registry.available("architectures"):
        try:
            found.append(find_architecture(name))
        except UserError as error:
            _say_left_out(str(error))
    return found


def denoiser_slots() -> list[str]:
    """The names under which pipelines of the registered architectures have their denoiser: ``unet``, ``transformer``."""
    return sorted({architecture.denoiser[0] for architecture in all_architectures()})


def encoder_slots() -> list[str]:
    """The names under which they have their text encoders: ``text_encoder``, ``text_encoder_2``."""
    return sorted({slot for architecture in all_architectures() for slot in architecture.encoders})


def architecture_of(path: Path) -> Architecture:
    """That of a pipeline's folder by its ``model_index.json`` (:data:`DEFAULT` without one), of a single file by its tensors.

    Raises:
        UserError: a pipeline of another kind, a damaged file, or what may be of several architectures.
    """
    if path.is_file():
        return architecture_with(ldm_names(read_header(path).tensors).values(), path)
    kind = _pipeline_class(path)
    if kind is None:
        return find_architecture(DEFAULT)
    known = [architecture for architecture in all_architectures() if architecture.detected]
    found = [architecture for architecture in known if architecture.pipeline == kind]
    if not found:
        expected = " or ".join(dict.fromkeys(architecture.pipeline for architecture in known))
        raise UserError(f"{path / INDEX}: _class_name: {kind!r} is not supported; expected {expected}")
    return _one_of(found, path)


def architecture_with(names: Iterable[str], path: Path) -> Architecture:
    """That of a checkpoint which may be a model without a pipeline.

    Args:
        names: of a single file's tensors, or of those of the denoiser in a folder. They decide, where the folder is no pipeline
            of a registered class; without a mark of any architecture it is :data:`DEFAULT`.
        path: of the file or the folder.

    Raises:
        UserError: it may be of several architectures.
    """
    known, names = [architecture for architecture in all_architectures() if architecture.detected], list(names)
    kind = _pipeline_class(path) if path.is_dir() else None
    found = [architecture for architecture in known if architecture.pipeline == kind]
    found = found or [architecture for architecture in known if architecture.recognises(names)]
    return _one_of(found, path) if found else find_architecture(DEFAULT)


def view_of(denoiser: Any) -> Any:
    """A model in memory as its blocks, by the first architecture whose models are of its class: a ``BlockView`` or ``FluxView``.

    Raises:
        UserError: no architecture has such a denoiser, or it has a part which cannot be seen as blocks.
    """
    known, kinds = all_architectures(), {kind.__name__ for kind in type(denoiser).__mro__}
    for architecture in known:
        if architecture.denoiser[1] in kinds:
            return architecture.view(denoiser)
    expected = " or ".join(dict.fromkeys(architecture.denoiser[1] for architecture in known))
    raise UserError(f"denoiser: {type(denoiser).__name__} is not supported; expected {expected}")


@cache  # once a process
def _say_left_out(error: str) -> None:
    logging.getLogger("afa_bench").warning("%s: no checkpoint is found to be of it", error)


def _pipeline_class(folder: Path) -> str | None:
    """What ``model_index.json`` says; None without such a file."""
    index = folder / INDEX
    if not index.is_file():
        return None
    try:
        return str(json.loads(index.read_text(encoding="utf-8")).get("_class_name"))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{index}: cannot be read: {error}") from error


def _one_of(found: Sequence[Architecture], path: Path) -> Architecture:
    if len(found) > 1:
        names = " or ".join(architecture.name for architecture in found)
        raise UserError(f"{path}: may be {names}; expected one architecture (a group's file may name it)")
    return found[0]
