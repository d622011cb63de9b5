"""LAION-COCO (Schuhmann et al. 2022): images of the web with captions made by BLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from afa_bench.errors import UserError
from afa_bench.fetch import HubFiles, Library, Needed
from afa_bench.identity import select
from afa_bench.images.names import SUFFIXES
from afa_bench.images.stored import Picture, chosen, in_file
from afa_bench.paths import expanded
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked
from afa_bench.prompts.rows import read_rows

REPO = "laion/relaion-coco"


class LaionCoco(PromptSet):
    """A seeded selection of captions; an id is the row's ``hash`` with the number of the file that it is in.

    The data set has addresses instead of images, many of them dead by now: images are the user's to fetch, which is why they
    are no part of ``afa-bench fetch``.

    Attributes:
        count: how many.
        parts: the selection is drawn from so many files of the data set, themselves drawn by the seed.
        seed: of both draws.
        revision: of the data set; the lock file pins it to a commit when it is fetched.
        images: a folder with an image ``ID.jpg`` (or .png, .webp) for each prompt that has one, relative to the suite.
    """

    source: ClassVar[str] = "huggingface.co/datasets/laion/relaion-coco, which took the place of laion/laion-coco"
    licence: ClassVar[str] = "captions CC BY 4.0; images under their owners' terms"

    count: Annotated[int, Field(ge=1)] = 50_000
    parts: Annotated[int, Field(ge=1)] = 1
    seed: int = 0
    revision: str = "main"
    images: Path | None = None

    def sources(self) -> Sequence[Needed]:
        """The files drawn: of the columns ``URL``, ``TEXT``, ``top_caption``, ``hash``, ``punsafe`` and more, two are read."""
        files = HubFiles(repo=REPO, pattern="*.parquet", revision=self.revision, kind="datasets", draw=self.parts, seed=self.seed)
        return [files]

    @property
    def expected(self) -> int:
        """How many prompts there are."""
        return self.count

    def prompts(self, folder: Path) -> list[Prompt]:
        """The selection, in its random order.

        Raises:
            UserError: not fetched, changed since, or fewer than ``count`` captions.
        """
        library = Library()
        paths = [library.locate(source) for need in self.sources() for source in library.files(need)]
        texts: dict[str, str] = {}
        for number, path in enumerate(paths):
            for row in read_rows(path, ["top_caption", "hash"]):
                if (row["top_caption"] or "").strip() and row["hash"] is not None:
                    texts[f"{number}-{row['hash']}"] = row["top_caption"].strip()
        if len(texts) < self.count:
            raise UserError(f"laion-coco: count: {self.count} wanted, {len(paths)} files have {len(texts)}; raise parts")
        place = folder / expanded(self.images) if self.images else None
        return checked(
            [Prompt(key, texts[key], image=_found(place, key)) for key in select(texts, self.count, self.seed)], paths[0]
        )

    def reference(self, folder: Path) -> list[Picture]:
        """The images of the selection that there are."""
        return chosen(prompt.image for prompt in self.prompts(folder))


def _found(place: Path | None, key: str) -> Picture | None:
    if place is None:
        return None
    found = [path for suffix in SUFFIXES if (path := place / f"{key}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{place}: {found[0].name} and {found[1].name}: expected one image of a prompt")
    return in_file(found[0]) if found else None
