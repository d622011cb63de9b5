"""Where one checkpoint comes from: a folder, a single file, a hub repository, CivitAI."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from afa_bench import registry
from afa_bench.architectures.base import Architecture
from afa_bench.checkpoints.hashing import hash_file
from afa_bench.checkpoints.parts import SUFFIX
from afa_bench.errors import NotFetchedError, UserError
from afa_bench.fetch import CivitaiFile, HubFile, HubModel, Library, Needed, Source
from afa_bench.fetch.layout import Part
from afa_bench.fetch.sources import is_sha256, other_file
from afa_bench.models.addresses import REPOSITORY, refuse_unknown


class Entry(BaseModel):
    """One checkpoint, by exactly one of ``folder``, ``file``, ``hub`` and ``civitai``.

    Attributes:
        name: as in tables.
        folder: in the diffusers layout; relative to the group's file, or ``zoo:...``, ``data:...``.
        file: a single safetensors file, as ``folder``; with ``hub`` or ``civitai``: one of that repository or version.
        hub: ``owner/name``; without ``file`` a repository in the diffusers layout.
        revision: of the repository: a commit, or a branch that the lock file pins to one.
        civitai: a version's id (``modelVersionId``).
        sha256: of a single file, where it is known; of several files of a CivitAI version it chooses one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: str | None = None
    file: str | None = None
    hub: str | None = None
    revision: str = "main"
    civitai: Annotated[int, Field(ge=1)] | None = None
    sha256: str | None = None

    @field_validator("sha256")
    @classmethod
    def _whole_pin(cls, text: str | None) -> str | None:
        if text is not None and not is_sha256(text.lower()):
            raise ValueError(
                f"expected the 64 hexadecimal digits of a sha256 (of which CivitAI's AutoV2 is a part), found {text!r}"
            )
        return text and text.lower()

    @model_validator(mode="after")
    def _one_origin(self) -> Entry:
        given = [self.folder, self.hub, self.civitai, None if self.hub or self.civitai else self.file]
        if sum(origin is not None for origin in given) != 1:
            raise ValueError("expected one of folder, file, hub and civitai (or hub or civitai with file)")
        if self.file is not None and not self.file.lower().endswith(SUFFIX):
            raise ValueError(f"file: {self.file}: expected a {SUFFIX} file")
        if self.hub is not None and not REPOSITORY.fullmatch(self.hub):
            raise ValueError(f"hub: {self.hub}: expected owner/name")
        if self.sha256 and self.file is None and self.civitai is None:
            raise ValueError("sha256: expected with a single file; a folder's files are pinned by the lock file")
        if "revision" in self.model_fields_set and self.hub is None:
            raise ValueError("revision: expected with hub")
        return self

    def sources(self, architecture: Architecture | None, shared: bool, where: str) -> list[Needed]:
        """What is fetched for it.

        Args:
            architecture: needed for a hub repository in the diffusers layout.
            shared: of such a repository, everything but the denoiser; otherwise the denoiser and, where it has them, the text
                encoders, and the scheduler, which says what is predicted.
            where: the group's file, for errors.

        Raises:
            UserError: a hub repository in the diffusers layout, without an architecture.
        """
        if self.civitai is not None:
            return [CivitaiFile(version=self.civitai, file=self.file, sha256=self.sha256)]
        if self.hub is None:
            return []
        if self.file is not None:
            return [HubFile(repo=self.hub, file=self.file, revision=self.revision, sha256=self.sha256)]
        if architecture is None:
            known = " or ".join(registry.available("architectures"))
            raise UserError(f"{where}: architecture: expected {known}, which says what files {self.hub} has")
        parts = tuple(architecture_parts(architecture, shared))
        return [HubModel(repo=self.hub, revision=self.revision, parts=parts)]

    def place(
        self,
        where: Path,
        key: str,
        architecture: Architecture | None,
        library: Library,
        path_of: Callable[[str, str, bool], Path],
        fetched: bool = True,
    ) -> Path:
        """The folder or the file on this machine.

        Args:
            where: the group's file.
            key: in it.
            architecture: as for :meth:`sources`.
            library: of fetched files.
            path_of: makes a path of a text, or refuses it.
            fetched: whether what comes from elsewhere has to be there; else it is where it will be.

        Raises:
            UserError: it does not exist, is not fetched yet, or is another one than the one pinned.
        """
        if self.hub is None and self.civitai is None:
            path = path_of(key, self.folder or self.file or "", True)
            if self.sha256 and path.is_file() and (found := hash_file(path)) != self.sha256:
                raise UserError(f"{where}: {key}: {path}: {other_file(self.sha256, found)}")
            return path
        (need,) = self.sources(architecture, key == "pipeline", str(where))
        find = library.locate if fetched else library.find
        try:
            sources = library.files(need)
            places = [find(source) for source in sources]
        except NotFetchedError as error:
            if not fetched:
                return library.folder / need.path
            raise NotFetchedError(f"{where}: {key}: {error}") from error
        except UserError as error:
            raise UserError(f"{where}: {key}: {error}") from error
        paths = [path for path in places if path is not None]
        if len(paths) < len(places):
            return library.folder / need.path
        if isinstance(need, Source):
            return paths[0]
        names = [source.file for source in sources if isinstance(source, HubFile)]
        root = paths[0].parents[names[0].count("/")]
        if any(root / name != path for name, path in zip(names, paths, strict=True)):
            raise UserError(f"{where}: {key}: some files of {self.hub} are in the hub's cache and some in {library.folder}")
        return root


def architecture_parts(architecture: Architecture, shared: bool) -> list[Part]:
    """The parts of a folder or a repository in the diffusers layout: those that a group's pipeline shares, or a model's own."""
    if not shared:
        encoders = [Part(name, required=False) for name in architecture.encoders]
        return [Part(architecture.denoiser[0], alone=True), *encoders, Part("scheduler", "scheduler", required=False)]
    words = [Part(name, "vocabulary") for name in architecture.tokenizers]
    return [Part("vae"), *map(Part, architecture.encoders), *words, Part("scheduler", "scheduler")]


def as_entry(value: Any, name: str, where: str, folder: Path) -> dict[str, Any]:
    """What the user wrote as the keys of an :class:`Entry`: a text is a folder, or a single file by its suffix.

    Args:
        value: a text or a mapping.
        name: the model's.
        where: file and key, for errors.
        folder: which paths are relative to.

    Raises:
        UserError: a text that is no path, such as the address of a page; the message has the entry that would be right.
    """
    if isinstance(value, Mapping):
        entry = {"name": name, **value}
    else:
        entry = {"name": name, "file" if isinstance(value, str) and value.lower().endswith(SUFFIX) else "folder": value}
    local = "hub" not in entry and "civitai" not in entry
    for key in ("folder", "file", "hub", "civitai"):
        text = entry.get(key)
        if isinstance(text, str) and (key != "file" or local):
            place = folder / text
            if not (local and os.path.isdir(place)):
                refuse_unknown(text, where, there=local and os.path.exists(place))
    return entry
