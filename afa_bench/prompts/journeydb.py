"""JourneyDB (Pan et al. 2023, "JourneyDB: A Benchmark for Generative Image Understanding")."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from afa_bench.errors import UserError
from afa_bench.fetch import HubFile, Needed, locate
from afa_bench.identity import select
from afa_bench.images.archives import in_tar
from afa_bench.images.stored import Picture, chosen
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked

REPO = "JourneyDB/JourneyDB"
FOLDERS = 200
"""Of a split: ``data/SPLIT/imgs/000.tgz`` to ``199.tgz``."""


def _file(name: str) -> HubFile:
    return HubFile(repo=REPO, file=name, kind="datasets")


ANNOTATIONS = {
    "valid": _file("data/valid/valid_anno_repath.jsonl.tgz"),
    "train": _file("data/train/train_anno_realease_repath.jsonl.tgz"),
}
"""One line an image: ``img_path`` (``./FOLDER/NAME.jpg``), ``prompt``, ``Task2.Caption`` and more."""


class JourneyDB(PromptSet):
    """Midjourney prompts and images of a split; the validation split shares no image and no prompt group with the training split.

    Attributes:
        split: the validation split, to generate from; the training split, to train on.
        count: how many.
        folders: the selection is drawn from so many of the split's 200 archives, drawn by the seed. They have about 1,170 images
            each in the validation split, 20,900 in the training split.
        seed: of both draws.
        text: the user's prompt, or the caption that the data set's authors made for it.
        images: fetch the images as well; without them there is no FID and no CLIP-I.
    """

    source: ClassVar[str] = "huggingface.co/datasets/JourneyDB/JourneyDB; accept its terms and set HF_TOKEN"
    licence: ClassVar[str] = "JourneyDB Terms of Usage: non-commercial"

    split: Literal["valid", "train"] = "valid"
    count: Annotated[int, Field(ge=1)] = 50_000
    folders: Annotated[int, Field(ge=1, le=FOLDERS)] = 45
    seed: int = 0
    text: Literal["prompt", "caption"] = "prompt"
    images: bool = True

    def sources(self) -> Sequence[Needed]:
        """The annotations, and the archives drawn."""
        return [ANNOTATIONS[self.split], *(self._archives().values() if self.images else ())]

    def _archives(self) -> dict[str, HubFile]:
        drawn = sorted(select((f"{folder:03d}" for folder in range(FOLDERS)), self.folders, self.seed))
        return {folder: _file(f"data/{self.split}/imgs/{folder}.tgz") for folder in drawn}

    @property
    def expected(self) -> int:
        """How many prompts there are."""
        return self.count

    def prompts(self, folder: Path) -> list[Prompt]:
        """The selection, in its random order; an id is ``FOLDER/NAME``.

        Raises:
            UserError: not fetched, changed since, another layout, or the archives hold fewer than ``count``.
        """
        path = locate(ANNOTATIONS[self.split])
        archives = self._archives()
        texts: dict[str, str] = {}
        for row in _rows(path):
            place = PurePosixPath(str(row.get("img_path", "")))
            text = row.get("prompt") if self.text == "prompt" else (row.get("Task2") or {}).get("Caption")
            if place.parent.name in archives and isinstance(text, str) and text.strip():
                texts[f"{place.parent.name}/{place.name}"] = text.strip()
        if len(texts) < self.count:
            raise UserError(f"{path}: count: {self.count} wanted, {self.folders} archives have {len(texts)}; raise folders")
        pictures = {name: in_tar(locate(archive)) for name, archive in archives.items()} if self.images else {}

        def prompt(identity: str) -> Prompt:
            inside, _, name = identity.partition("/")
            return Prompt(identity, texts[identity], image=pictures.get(inside, {}).get(name))

        return checked([prompt(identity) for identity in select(texts, self.count, self.seed)], path)

    def reference(self, folder: Path) -> list[Picture]:
        """The images of the selection."""
        return chosen(prompt.image for prompt in self.prompts(folder))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of the one .jsonl file in an archive."""
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".jsonl"):
                    yield from map(json.loads, archive.extractfile(member) or ())
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        raise UserError(f"{path}: expected an archive with a .jsonl file: {error}") from error
