"""Which files of a repository in the diffusers layout are needed: chosen among those that it has, whatever libraries wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from afa_bench.checkpoints.parts import CONFIG, SUFFIX, choose, vocabulary
from afa_bench.errors import UserError
from afa_bench.fetch.sources import HubFile, HubFiles

INDEX, SETTINGS = "model_index.json", "scheduler_config.json"


@dataclass(frozen=True)
class Part:
    """A part of a pipeline: a folder of the repository.

    Attributes:
        folder: its name.
        content: what is in it.
        required: whether a repository without it is none that could be meant; else the group's pipeline has it.
        alone: whether it may lie in the repository's own folder, where that holds nothing else: a denoiser without a pipeline.
    """

    folder: str
    content: Literal["weights", "vocabulary", "scheduler"] = "weights"
    required: bool = True
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class HubModel(HubFiles):
    """The files of a hub repository in the diffusers layout that are needed of it; the lock file keeps what files it has."""

    parts: tuple[Part, ...]
    pattern: str = "*"

    @override
    def files(self, names: Iterable[str], commit: str) -> list[HubFile]:
        """The needed ones among a repository's names.

        Raises:
            UserError: a part that is required is not there, or not as safetensors.
        """
        found = needed_files(names, self.parts, f"hub:{self.repo}@{self.revision}")
        return [HubFile(repo=self.repo, file=name, revision=commit, kind=self.kind) for name in found]

    def fits(self, names: Iterable[str], whole: bool = False) -> bool:
        """Whether these are files of such a repository; ``whole``: all that one can have of these parts."""
        parts = [Part(part.folder, part.content) for part in self.parts] if whole else self.parts
        try:
            return bool(needed_files(names, parts, ""))
        except UserError:
            return False


def needed_files(names: Iterable[str], parts: Sequence[Part], where: str) -> list[str]:
    """The files of these parts, with their folders.

    Args:
        names: of the files of a repository or a folder, with their folders.
        parts: that are needed.
        where: the repository or the folder, for errors.

    Raises:
        UserError: see :meth:`HubModel.files`.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if not file.startswith("."):
            folders.setdefault(folder, []).append(file)
    top = folders.get("", [])
    needed = [INDEX] if INDEX in top and not any(part.alone for part in parts) else []
    for part in parts:
        folder = "" if part.alone and part.folder not in folders and CONFIG in top else part.folder
        there = folders.get(folder, [])
        place = f"{where}: {folder}" if folder else where
        if part.content == "weights" and (part.required or CONFIG in there):
            if not there:
                raise UserError(f"{place}/: not there; {_instead(top)}")
            if CONFIG not in there:
                raise UserError(f"{place}: expected {CONFIG}, found {', '.join(sorted(there)[:3])}")
            weights = choose(there, place)
            chosen = [CONFIG, weights.main, *weights.shards]
        elif part.content == "weights":
            continue
        else:
            chosen = vocabulary(there) if part.content == "vocabulary" else [name for name in there if name == SETTINGS]
            if part.required and not chosen:
                raise UserError(f"{place}/: not there; expected a {part.content}")
        needed += [f"{folder}/{name}" if folder else name for name in chosen]
    return needed


def _instead(top: Sequence[str]) -> str:
    single = sorted(name for name in top if name.endswith(SUFFIX))
    if single:
        return f"expected the diffusers layout; of single files file names one: {', '.join(single[:5])}"
    return "expected a repository or a folder in the diffusers layout, with safetensors"
