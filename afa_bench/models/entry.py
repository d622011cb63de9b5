"""Where one checkpoint comes from: a folder, a single file, a hub repository, CivitAI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from afa_bench import registry
from afa_bench.architectures.base import Architecture
from afa_bench.errors import UserError
from afa_bench.fetch.library import Library
from afa_bench.fetch.sources import CivitaiFile, HubFile, Source
from afa_bench.paths import located


class Entry(BaseModel):
    """One checkpoint, by exactly one of ``folder``, ``file``, ``hub`` and ``civitai``.

    Attributes:
        name: as in tables.
        folder: in the diffusers layout; relative to the group's file, or ``zoo:...``, ``data:...``.
        file: a single safetensors file, as ``folder``; together with ``hub``: a file of that repository.
        hub: ``owner/name``; without ``file`` a repository in the diffusers layout.
        revision: of the repository: a commit, or a branch that the lock file pins to one.
        civitai: a version's id (``modelVersionId``).
        sha256: of a single file, where it is known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: str | None = None
    file: str | None = None
    hub: str | None = None
    revision: str = "main"
    civitai: Annotated[int, Field(ge=1)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Entry:
        given = [self.folder, self.hub, self.civitai, None if self.hub else self.file]
        if sum(origin is not None for origin in given) != 1:
            raise ValueError("expected one of folder, file, hub and civitai (or hub with file)")
        return self

    def sources(self, architecture: Architecture | None, shared: bool, where: str) -> list[Source]:
        """The files that are fetched for it.

        Args:
            architecture: needed for a hub repository in the diffusers layout.
            shared: of such a repository, everything but the denoiser; otherwise the denoiser, the text encoders, and the
                scheduler, which says what is predicted.
            where: the group's file, for errors.

        Raises:
            UserError: a hub repository in the diffusers layout, without an architecture.
        """
        if self.civitai is not None:
            return [CivitaiFile(version=self.civitai, sha256=self.sha256)]
        if self.hub is None:
            return []
        if self.file is not None:
            return [HubFile(repo=self.hub, file=self.file, revision=self.revision, sha256=self.sha256)]
        if architecture is None:
            known = " or ".join(registry.available("architectures"))
            raise UserError(f"{where}: architecture: expected {known}, which says what files {self.hub} has")
        if shared:
            parts = ["vae", *architecture.encoders, *architecture.tokenizers, "scheduler"]
            names = ["model_index.json", *architecture.hub_files(parts)]
        else:
            names = architecture.hub_files([architecture.denoiser[0], *architecture.encoders, "scheduler"])
        return [HubFile(repo=self.hub, file=name, revision=self.revision) for name in names]

    def future_place(self, where: Path, key: str, architecture: Architecture | None, library: Library) -> Path:
        """Where it will be, whether or not it is there yet.

        Raises:
            UserError: as :meth:`sources`.
        """
        sources = self.sources(architecture, key == "pipeline", str(where))
        if not sources:
            return located(self.folder or self.file or "", where.parent)
        path = library.path(sources[0])
        return path if len(sources) == 1 else path.parent

    def place(
        self,
        where: Path,
        key: str,
        architecture: Architecture | None,
        library: Library,
        path_of: Callable[[str, str, bool], Path],
    ) -> Path:
        """The folder or the file on this machine.

        Raises:
            UserError: it does not exist, is not fetched yet, or is another one than the one pinned.
        """
        if self.hub is None and self.civitai is None:
            return path_of(key, self.folder or self.file or "", True)
        sources = self.sources(architecture, key == "pipeline", str(where))
        try:
            paths = [library.locate(source) for source in sources]
        except UserError as error:
            raise UserError(f"{where}: {key}: {error}") from error
        if len(paths) == 1:
            return paths[0]
        names = [source.file for source in sources if isinstance(source, HubFile)]
        root = paths[0].parents[names[0].count("/")]
        if any(root / name != path for name, path in zip(names, paths, strict=True)):
            raise UserError(f"{where}: {key}: some files of {self.hub} are in the hub's cache and some in {library.folder}")
        return root


def as_entry(value: Any, name: str) -> dict[str, Any]:
    """What the user wrote as the keys of an :class:`Entry`: a text is a folder, or a single file by its suffix."""
    if isinstance(value, Mapping):
        return {"name": name, **value}
    return {"name": name, "file" if isinstance(value, str) and value.endswith(".safetensors") else "folder": value}
