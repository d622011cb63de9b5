"""A folder of images with captions: prompts with a real image each."""

from __future__ import annotations

from os.path import isdir
from pathlib import Path
from typing import ClassVar

from afa_bench.errors import UserError
from afa_bench.images.stored import SUFFIXES, Picture, in_file
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked
from afa_bench.prompts.rows import read_rows

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class FolderPrompts(PromptSet):
    """Images whose captions are beside them: ``NAME.txt`` for ``NAME.png``, or a table of the columns ``file_name`` and ``text``.

    Attributes:
        path: relative to the suite.
        column: of the captions in ``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet`` (the hub's image folders).
    """

    source: ClassVar[str] = "a folder of the user's"
    licence: ClassVar[str] = "the user's"

    path: Path
    column: str = "text"

    def prompts(self, folder: Path) -> list[Prompt]:
        """One prompt an image, in the order of the table or of the file names, under its file name without suffix.

        Raises:
            UserError: no such folder, an image without a caption, or a caption without an image.
        """
        place = folder / self.path.expanduser()
        if not isdir(place):
            raise UserError(f"{place}: no such folder")
        table = next((place / name for name in METADATA if (place / name).is_file()), None)
        captions = self._table(table) if table else self._texts(place)
        return checked([Prompt(image.stem, text, image=in_file(image)) for image, text in captions], table or place)

    def reference(self, folder: Path) -> list[Picture]:
        """None: a prompt's own image is what its generated one is compared with."""
        return []

    def _table(self, table: Path) -> list[tuple[Path, str]]:
        rows = [(table.parent / str(row["file_name"]), row[self.column]) for row in read_rows(table, ["file_name", self.column])]
        for image, text in rows:
            if not isinstance(text, str):
                raise UserError(f"{table}: {image.name}: {self.column}: expected a text")
            if ".." in image.parts or not image.is_file():
                raise UserError(f"{table}: file_name: no such image: {image}")
        return rows

    def _texts(self, place: Path) -> list[tuple[Path, str]]:
        images = [image for image in sorted(place.iterdir()) if image.suffix.lower() in SUFFIXES]
        for image in images:
            if not image.with_suffix(".txt").is_file():
                raise UserError(f"{image}: no caption: expected {image.with_suffix('.txt').name} beside it, or {METADATA[0]}")
        return [(image, image.with_suffix(".txt").read_text(encoding="utf-8").strip()) for image in images]
