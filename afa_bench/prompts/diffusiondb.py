"""DiffusionDB 2M (Wang et al. 2022, "DiffusionDB: A Large-scale Prompt Gallery Dataset for Text-to-Image Generative Models")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from afa_bench.errors import UserError
from afa_bench.fetch import HubFile, Needed, locate
from afa_bench.identity import select
from afa_bench.images.archives import in_zip
from afa_bench.images.stored import Picture, chosen
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked
from afa_bench.prompts.rows import read_rows

REPO, REVISION = "poloclub/diffusiondb", "fb620fbe49fa4420e0734bd9c0df11f51176b61f"
PARTS = 2000
"""Archives of 1,000 images each: ``images/part-000001.zip`` and so on."""


def _file(name: str) -> HubFile:
    return HubFile(repo=REPO, file=name, revision=REVISION, kind="datasets")


METADATA = _file("metadata.parquet")
"""A row an image; its columns ``image_name`` (unique), ``prompt`` and ``part_id`` are read."""


class DiffusionDB(PromptSet):
    """Prompts that people gave to Stable Diffusion, with the images they got: a seeded selection by image name.

    Attributes:
        count: how many.
        parts: the selection is drawn from so many of the 2,000 archives, themselves drawn by the seed: an archive has 1,000
            images, and all of them have 1.6 TB.
        seed: of both draws.
        images: fetch the images as well; without them there is no FID and no CLIP-I.
    """

    source: ClassVar[str] = "huggingface.co/datasets/poloclub/diffusiondb, DiffusionDB 2M"
    licence: ClassVar[str] = "CC0 1.0"

    count: Annotated[int, Field(ge=1)] = 50_000
    parts: Annotated[int, Field(ge=1, le=PARTS)] = 52
    seed: int = 0
    images: bool = True

    def sources(self) -> Sequence[Needed]:
        """The table, and the archives drawn."""
        return [METADATA, *(self._archives().values() if self.images else ())]

    def _archives(self) -> dict[int, HubFile]:
        drawn = sorted(map(int, select(map(str, range(1, PARTS + 1)), self.parts, self.seed)))
        return {part: _file(f"images/part-{part:06d}.zip") for part in drawn}

    @property
    def expected(self) -> int:
        """How many prompts there are."""
        return self.count

    def prompts(self, folder: Path) -> list[Prompt]:
        """The selection, in its random order.

        Raises:
            UserError: not fetched, changed since, or the archives hold fewer than ``count``.
        """
        path = locate(METADATA)
        archives = self._archives()
        rows = read_rows(path, ["image_name", "prompt", "part_id"])
        texts = {row["image_name"]: row["prompt"] for row in rows if row["part_id"] in archives and (row["prompt"] or "").strip()}
        if len(texts) < self.count:
            raise UserError(f"{path}: count: {self.count} wanted, {self.parts} archives have {len(texts)}; raise parts")
        pictures: dict[str, Picture] = {}
        for archive in archives.values() if self.images else ():
            pictures |= in_zip(locate(archive))
        return checked(
            [Prompt(name, texts[name], image=pictures.get(name)) for name in select(texts, self.count, self.seed)], path
        )

    def reference(self, folder: Path) -> list[Picture]:
        """The images of the selection."""
        return chosen(prompt.image for prompt in self.prompts(folder))
