"""A group: the models that are ensembled or merged, and the pipeline whose other parts they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from afa_bench import registry
from afa_bench.architectures.base import Architecture
from afa_bench.architectures.find import DEFAULT, INDEX, architecture_of, find_architecture
from afa_bench.architectures.kind import (
    SCHEDULER,
    changes,
    common_kind,
    kind_of_settings,
    require_sampled,
    stated_kind,
)
from afa_bench.errors import NotFoundError, UserError, suggest
from afa_bench.fetch.library import Library
from afa_bench.fetch.sources import Needed
from afa_bench.models.addresses import not_there
from afa_bench.models.contents import require_models
from afa_bench.models.entry import Entry, as_entry
from afa_bench.models.scheduling import make_scheduler
from afa_bench.paths import DATA, located
from afa_bench.reading import Place, read_mapping, validated
from afa_bench.store.atomic import read_json

Prediction: TypeAlias = Literal["epsilon", "v_prediction", "sample"]


class ModelRef(BaseModel):
    """One model: a folder in the diffusers layout (its denoiser, and text encoders where they differ) or a single file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: Path


class Group(BaseModel):
    """Models of one architecture, in a fixed order.

    Attributes:
        name: as in tables.
        pipeline: a stock diffusers pipeline folder or a single file: VAE, tokenizers, scheduler, and the text encoders of models
            without their own.
        models: at least one.
        sabw: a folder with the aggregator trained for these models in this order, if there is one.
        trained: such folders of other methods, by the method's name.
        architecture: a registered name, such as ``sd15``, ``sdxl`` or ``flux``, or ``FILE.py:NAME``.
        configs: a folder of configurations in the diffusers layout for single files; by default the packaged one.
        prediction_type, zero_snr: what the models predict, and whether they know a signal-to-noise ratio of zero, whatever their
            own marks and schedulers say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    pipeline: Path
    models: tuple[ModelRef, ...]
    sabw: Path | None = None
    trained: dict[str, Path] = {}
    architecture: str = DEFAULT
    configs: Path | None = None
    prediction_type: Prediction | None = None
    zero_snr: StrictBool | None = None

    @property
    def family(self) -> Architecture:
        """The architecture: whatever depends on it asks this object."""
        return find_architecture(self.architecture, f"group {self.name}: architecture")

    def schedule(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The settings of the pipeline's scheduler, and those which have to be others for what the models predict.

        What the group's file says counts; else what the models say, by the marks of files and the schedulers of folders. A model
        that says nothing is what the pipeline is.

        Raises:
            UserError: models of two kinds, or of one that the architecture's pipelines cannot sample.
        """
        single, where = self.pipeline.is_file(), f"group {self.name}"
        settings = read_json(((self.configs or self.family.configs) if single else self.pipeline) / SCHEDULER)
        if not isinstance(settings, Mapping):
            return {}, {}  # whoever loads it says what is wrong
        pipeline = (stated_kind(self.pipeline) if single else None) or kind_of_settings(settings)
        kinds = {model.name: stated_kind(model.path) or pipeline for model in self.models}
        kind = common_kind(where, kinds, self.prediction_type, self.zero_snr) or pipeline
        require_sampled(where, kind, self.family.flow)
        return settings, changes(settings, kind)

    def scheduler(self, name: str, settings: Mapping[str, str] = {}) -> Any:
        """A scheduler of diffusers that samples these models; see :func:`afa_bench.models.scheduling.make_scheduler`."""
        own, different = self.schedule()
        return make_scheduler(self.family, {**own, **different}, name, settings)

    @property
    def zeros(self) -> bool | None:
        """False where the pipeline's folder says that no zeros stand for an empty negative prompt."""
        index = None if self.pipeline.is_file() else read_json(self.pipeline / INDEX)
        return False if isinstance(index, Mapping) and index.get("force_zeros_for_empty_prompt") is False else None


class GroupFile(BaseModel):
    """A group's YAML file, as written: nothing needs to be fetched yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    pipeline: Entry
    models: Annotated[tuple[Entry, ...], Field(min_length=1)]
    sabw: str | None = None
    trained: dict[str, str] = {}
    architecture: str | None = None
    configs: str | None = None
    prediction_type: Prediction | None = None
    zero_snr: StrictBool | None = None
    file: Path = Field(default=Path(), exclude=True)

    def sources(self) -> list[Needed]:
        """What ``afa-bench fetch`` brings: the pipeline's shared parts, and the models.

        Raises:
            UserError: a hub repository as a folder, and no ``architecture`` that says which files it has.
        """
        kind, where = self._known_architecture(), str(self.file)
        of_models = [source for model in self.models for source in model.sources(kind, False, where)]
        return [*self.pipeline.sources(kind, True, where), *of_models]

    def _known_architecture(self) -> Architecture | None:
        """The one that the file names."""
        return find_architecture(self.architecture, f"{self.file}: architecture") if self.architecture else None

    def resolved(self) -> Group:
        """The group with its folders and files in place.

        Raises:
            UserError: a folder or file that does not exist, is not fetched yet, is another one than the one pinned, is no model
                of the architecture, or lacks a part.
        """
        kind, library = self._known_architecture(), Library()
        places = [entry.place(self.file, key, kind, library, self._folder) for key, entry in self._entries()]
        return self._group(places, self.architecture or architecture_of(places[0]).name, self._folder)

    def without_files(self) -> Group:
        """The group as it will be, whether or not its folders and files are there yet.

        Raises:
            UserError: as :meth:`sources`; a folder or file of this machine that is not there, or another one than the one pinned.
        """
        kind, library = self._known_architecture(), Library()
        places = [entry.place(self.file, key, kind, library, self._folder, fetched=False) for key, entry in self._entries()]
        found = self.architecture or (architecture_of(places[0]).name if places[0].exists() else DEFAULT)
        return self._group(places, found, lambda key, text: located(text, self.file.parent))

    def absent(self) -> list[str]:
        """The models in the data folder that are not there."""
        texts = [entry.folder or entry.file or "" for _, entry in self._entries() if entry.hub is None and entry.civitai is None]
        return [str(path) for text in texts if text.startswith(DATA) and not exists(path := located(text))]

    def _entries(self) -> list[tuple[str, Entry]]:
        return [("pipeline", self.pipeline), *((f"models.{model.name}", model) for model in self.models)]

    def _group(self, places: Sequence[Path], architecture: str, folder: Callable[[str, str], Path]) -> Group:
        group = Group(
            name=self.name,
            pipeline=places[0],
            models=tuple(ModelRef(name=m.name, path=path) for m, path in zip(self.models, places[1:], strict=True)),
            sabw=folder("sabw", self.sabw) if self.sabw else None,
            trained={method: folder(f"trained.{method}", path) for method, path in self.trained.items()},
            architecture=architecture,
            configs=folder("configs", self.configs) if self.configs else None,
            prediction_type=self.prediction_type,
            zero_snr=self.zero_snr,
        )
        keys = (key for key, _ in self._entries())
        require_models(str(self.file), group.family, group.configs or group.family.configs, dict(zip(keys, places, strict=True)))
        return group

    def _folder(self, key: str, text: str, may_be_file: bool = False) -> Path:
        """A path of the user's, relative to the group's file or behind a prefix; what is below the data folder may come later."""
        full = located(text, self.file.parent)
        if not (isdir(full) or (may_be_file and isfile(full)) or text.startswith(DATA)):
            raise NotFoundError(f"{self.file}: {key}: {not_there(text, full)}")
        return full


def packaged() -> dict[str, Path]:
    """The groups that ship with the package: name -> file."""
    folder = Path(str(files("afa_bench.models") / "groups"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def is_group(path: Path) -> bool:
    """Whether a file is a group's."""
    return isfile(path) and {"pipeline", "models"} <= read_mapping(path, "of keys")[0].keys()


def read_group_file(name: str, folder: Path, where: str) -> GroupFile:
    """A group's file by the name of a packaged one or by its path (relative to ``folder``).

    Raises:
        UserError: no such group, not YAML, a wrong or missing key.
    """
    known = packaged()
    path = known.get(name, located(name, folder))
    if name not in known and not isfile(path):
        raise UserError(f"{where}: unknown group {name!r}: {suggest(name, known)} (or the path of a group's YAML file)")
    content, _ = read_mapping(path, "with the keys pipeline and models")
    content["models"] = _models(path, content.get("models"))
    if "pipeline" in content:
        content["pipeline"] = as_entry(content["pipeline"], "pipeline", f"{path}: pipeline", path.parent)
    group = validated(GroupFile, {"name": path.stem, **content}, str(path), _known)
    names = [model.name for model in group.models]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: models: expected a name of its own for each model")
    named = group.architecture and registry.anchored(group.architecture, path.parent)
    return group.model_copy(update={"file": path, "architecture": named})


def read_group(name: str, folder: Path, where: str) -> Group:
    """A group with its files in place, see :func:`read_group_file`.

    Raises:
        UserError: as that, or a model that does not exist or is not fetched yet.
    """
    return read_group_file(name, folder, where).resolved()


def _known(place: Place) -> Iterable[str]:
    """The keys that there are at a place of a group's file."""
    return Entry.model_fields if place[0] in ("pipeline", "models") and len(place) > 1 else GroupFile.model_fields


def _models(path: Path, content: Any) -> list[dict[str, Any]]:
    if isinstance(content, Mapping) and content:
        return [as_entry(place, str(name), f"{path}: models.{name}", path.parent) for name, place in content.items()]
    if isinstance(content, list) and content and all(isinstance(entry, Mapping) and entry.get("name") for entry in content):
        return [as_entry(entry, str(entry["name"]), f"{path}: models.{entry['name']}", path.parent) for entry in content]
    raise UserError(f"{path}: models: expected a list of entries with a name, or a mapping of model names to folders or entries")
