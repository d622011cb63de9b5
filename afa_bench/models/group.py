"""A group: the models that are ensembled or merged, and the pipeline whose other parts they share."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from afa_bench.errors import UserError
from afa_bench.reading import read_mapping, validated
from afa_bench.registry import suggest

ZOO = "zoo:"
"""Prefix of a path inside the miniature zoo that ships with the package."""


class ModelRef(BaseModel):
    """One model: a folder in the diffusers layout with ``unet/`` and, where it differs from the pipeline's, ``text_encoder/``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: Path


class Group(BaseModel):
    """Models of one architecture, in a fixed order.

    Attributes:
        name: as in tables.
        pipeline: a stock diffusers pipeline folder: VAE, tokenizer, scheduler, and the text encoder of models without their own.
        models: at least one.
        sabw: a folder with the aggregator trained for these models in this order, if there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    pipeline: Path
    models: tuple[ModelRef, ...]
    sabw: Path | None = None


def packaged() -> dict[str, Path]:
    """The groups that ship with the package: name -> file."""
    folder = Path(str(files("afa_bench.models") / "groups"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_group(name: str, folder: Path, where: str) -> Group:
    """A group by the name of a packaged one or by the path of a YAML file (relative to ``folder``).

    Raises:
        UserError: no such group, not YAML, a wrong or missing key, a model folder that does not exist.
    """
    known = packaged()
    path = known.get(name, folder / name)
    if name not in known and not path.is_file():
        raise UserError(f"{where}: unknown group {name!r}: {suggest(name, known)} (or the path of a group's YAML file)")
    content, _ = read_mapping(path, "with the keys pipeline and models")
    if not isinstance(content.get("models"), Mapping) or not content["models"]:
        raise UserError(f"{path}: models: expected a mapping of model names to folders")
    content["models"] = [{"name": str(model), "path": place} for model, place in content["models"].items()]
    group = validated(Group, {"name": path.stem, **content}, str(path))
    return _resolve(group, path)


def _resolve(group: Group, file: Path) -> Group:
    def place(key: str, path: Path) -> Path:
        from afa_bench.mini import zoo

        text = str(path)
        full = zoo() / text.removeprefix(ZOO) if text.startswith(ZOO) else (file.parent / path.expanduser())
        if not full.is_dir():
            raise UserError(f"{file}: {key}: no such folder: {full}")
        return full

    return Group(
        name=group.name,
        pipeline=place("pipeline", group.pipeline),
        models=tuple(ModelRef(name=m.name, path=place(f"models.{m.name}", m.path)) for m in group.models),
        sabw=place("sabw", group.sabw) if group.sabw else None,
    )
