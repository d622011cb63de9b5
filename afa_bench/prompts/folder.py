"""A folder of images with captions: prompts with a real image each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from afa_bench.errors import UserError
from afa_bench.images.find import Found, find_images
from afa_bench.images.stored import Picture, in_file
from afa_bench.paths import expanded
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.captions import read_sidecar, sidecar_of
from afa_bench.prompts.file import checked
from afa_bench.prompts.rows import FILE, NEGATIVE, PROMPT, file_of, has_column, read_rows, text
from afa_bench.prompts.webui import Written

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@dataclass(frozen=True)
class Captioned:
    """An image, relative to its folder, and its caption."""

    file: str
    id: str
    caption: Written


class FolderPrompts(PromptSet):
    """Images whose captions are beside them: ``NAME.txt`` for ``NAME.png``, or a table of the columns ``file_name`` and ``text``.

    Images in folders below it count too.

    Attributes:
        path: relative to the suite.
        column: of the captions in ``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet`` (the hub's image folders); by
            default the one of ``prompt``, ``text`` and ``caption`` that there is.
        negative_column: of negative prompts in it; an empty one stands for the suite's.
    """

    source: ClassVar[str] = "a folder of the user's"
    licence: ClassVar[str] = "the user's"

    path: Path
    column: str | None = None
    negative_column: str | None = None

    def prompts(self, folder: Path) -> list[Prompt]:
        """One prompt an image, in the order of the table or of the file names, under its file name without suffix.

        Raises:
            UserError: no such folder, an image without a caption, or a caption without an image.
        """
        found, table = self._found(folder)
        captions = self._table(table, found) if table else self._texts(found)
        return checked(
            [
                Prompt(one.id, one.caption.text, image=in_file(found.folder / one.file), negative=one.caption.negative or None)
                for one in captions
            ],
            table or found.folder,
        )

    def reference(self, folder: Path) -> list[Picture]:
        """None: a prompt's own image is what its generated one is compared with."""
        return []

    def notes(self, folder: Path) -> Sequence[str]:
        """What was passed over: hidden files, images that the table does not name, captions beside images that have a table."""
        found, table = self._found(folder)
        notes = list(found.notes)
        if table is None:
            return notes
        named = {one.file for one in self._table(table, found)}
        if left := [file for file in found.files if file not in named]:
            notes.append(f"{table}: does not name {len(left)} of {len(found.files)} images ({left[0]} ...): they take no part")
        if beside := sum(sidecar_of(path) is not None for path in found.paths):
            notes.append(f"{table}: has the captions; {beside} text files beside images are not read")
        if not self.negative_column and has_column(table, [FILE, self.column or PROMPT], NEGATIVE):
            notes.append(f"{table}: the column {NEGATIVE} is not read: negative_column: {NEGATIVE} takes it")
        return notes

    def _found(self, folder: Path) -> tuple[Found, Path | None]:
        """The images, and the table of captions, if there is one."""
        place = folder / expanded(self.path)
        found = find_images(place)
        tables = [place / name for name in METADATA if (place / name).is_file()]
        if len(tables) > 1:
            raise UserError(f"{place}: {tables[0].name} and {tables[1].name}: expected one table of captions")
        if not tables and (named := [name for name in ("column", "negative_column") if getattr(self, name) is not None]):
            raise UserError(f"{place}: {named[0]}: expected one of {', '.join(METADATA)}")
        return found, tables[0] if tables else None

    def _table(self, table: Path, found: Found) -> list[Captioned]:
        there = set(found.files)
        captions: list[Captioned] = []
        optional = [self.negative_column] if self.negative_column else []
        for number, row in enumerate(read_rows(table, [FILE, self.column or PROMPT, *optional]), start=1):
            where = f"{table}: row {number}"
            file = file_of(row[FILE[0]], f"{where}: file_name", there)
            if file not in there:
                raise UserError(f"{where}: file_name: no such image: {found.folder / file}")
            caption = text(row[self.column or PROMPT[0]], f"{where}: {file}: {self.column or 'caption'}")
            negative = row[self.negative_column] if self.negative_column else None
            negative = None if negative is None else text(negative, f"{where}: {self.negative_column}")
            captions.append(Captioned(file, PurePosixPath(file).stem, Written(caption, negative)))
        return captions

    def _texts(self, found: Found) -> list[Captioned]:
        captions: list[Captioned] = []
        for file, path in zip(found.files, found.paths, strict=True):
            sidecar = sidecar_of(path)
            if sidecar is None:
                raise UserError(f"{path}: no caption: expected {path.with_suffix('.txt').name} beside it, or {METADATA[0]}")
            captions.append(Captioned(file, str(PurePosixPath(file).with_suffix("")), read_sidecar(sidecar)))
        return captions
