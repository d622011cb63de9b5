"""A folder of images with captions: prompts with a real image each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from afa_bench.errors import UserError
from afa_bench.images.find import Found, by_suffix, counted, find_images, some
from afa_bench.images.stored import Picture, in_file
from afa_bench.paths import expanded
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.captions import SIDECARS, read_bytes
from afa_bench.prompts.file import checked
from afa_bench.prompts.repeats import Repeats, folder_of, repeats_of
from afa_bench.prompts.rows import FILE, NEGATIVE, PROMPT, file_of, has_column, read_rows, text
from afa_bench.prompts.samples import TEXTS, pair
from afa_bench.prompts.webui import Written, settings_notes

METADATA = tuple(f"metadata{kind}" for kind in (".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz"))


@dataclass(frozen=True)
class Captioned:
    """A folder's images with their captions, in order, and what is to be said of it.

    Attributes:
        found: what is in the folder.
        source: the table of captions, or the folder.
        captions: image -> caption.
        notes: a line each.
        flat: whether an id is the bare name where these are unique.
    """

    found: Found
    source: Path
    captions: dict[str, Written]
    notes: list[str]
    flat: bool = False


class FolderPrompts(PromptSet):
    """Images whose captions are beside them: ``NAME.txt`` for ``NAME.png``, or a table of the columns ``file_name`` and ``text``.

    Images in folders below it count too, and so do tables there, which name the images of their own folder.

    Attributes:
        path: relative to the suite.
        column: of the captions in ``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet`` (the hub's image folders); by
            default the one of ``prompt``, ``text`` and ``caption`` that there is.
        negative_column: of negative prompts in it; an empty one stands for the suite's.
        key: of the captions in ``NAME.json`` beside ``NAME.png``, which are then taken in any case; by default ``caption``, where
            there is no text beside the image.
        repeats: whether folders called ``10_dog`` (kohya's) say how often a training sees their images in an epoch.
    """

    source: ClassVar[str] = "a folder of the user's"
    licence: ClassVar[str] = "the user's"

    path: Path
    column: str | None = None
    negative_column: str | None = None
    key: str | None = None
    repeats: bool = True

    def prompts(self, folder: Path) -> list[Prompt]:
        """One prompt an image, in the order of the tables or of the file names, under its file name without suffix.

        Of images that tables name it is the name without folders, where no two have the same.

        Raises:
            UserError: no such folder, an image without a caption, or a caption without an image.
        """
        read = self._read(folder)
        repeats = repeats_of(read.found.files) if self.repeats else {}
        once = Repeats(1, "")
        return checked(
            [
                Prompt(
                    identity,
                    caption.text,
                    image=in_file(read.found.folder / file),
                    negative=caption.negative or None,
                    repeats=repeats.get(folder_of(file), once).times,
                )
                for identity, (file, caption) in zip(_ids(list(read.captions), read.flat), read.captions.items(), strict=True)
            ],
            read.source,
        )

    def reference(self, folder: Path) -> list[Picture]:
        """None: a prompt's own image is what its generated one is compared with."""
        return []

    def notes(self, folder: Path) -> Sequence[str]:
        """What was passed over, what was taken for something else, and how often a training sees which images."""
        read = self._read(folder)
        notes = [*read.found.notes, *read.notes]
        if self.repeats and (repeats := repeats_of(read.found.files)):
            counts = Counter(map(folder_of, read.captions))
            times = ", ".join(f"{counts[name]} images of {name} {one.times} times" for name, one in sorted(repeats.items()))
            notes.append(f"{read.found.folder}: in an epoch a training sees {times} (repeats: false: once)")
        return notes

    def _read(self, folder: Path) -> Captioned:
        place = folder / expanded(self.path)
        found = find_images(place)
        tables = [file for file in found.beside if PurePosixPath(file).name in METADATA]
        if tables:
            if self.key is not None:
                raise UserError(f"{place}: key: expected no {tables[0]}, which has the captions")
            return self._tables(found, tables)
        if named := [name for name in ("column", "negative_column") if getattr(self, name) is not None]:
            raise UserError(f"{place}: {named[0]}: expected one of {', '.join(METADATA)}")
        return self._beside(found)

    def _tables(self, found: Found, tables: Sequence[str]) -> Captioned:
        folders = [str(PurePosixPath(table).parent) for table in tables]
        for place, table in enumerate(tables):
            if folders[place] in folders[:place]:
                other = tables[folders.index(folders[place])]
                raise UserError(f"{found.folder}: {other} and {table}: expected one table of captions")
        captions: dict[str, Written] = {}
        for table in tables:
            for where, file, caption in self._rows(found, table):
                if file in captions:
                    raise UserError(f"{where}: {file}: has a caption already: expected one caption of an image")
                captions[file] = caption
        source = found.folder / (tables[0] if len(tables) == 1 else "")
        notes: list[str] = []
        if left := [file for file in found.files if file not in captions]:
            notes.append(f"{source}: does not name {len(left)} of {len(found.files)} images ({some(left)}): they take no part")
        stems = {file.rpartition(".")[0] for file in found.files}
        texts = [file for file in found.beside if file.lower().endswith(TEXTS) and file.rpartition(".")[0] in stems]
        if texts:
            notes.append(f"{source}: has the captions; {len(texts)} text files beside images are not read ({some(texts)})")
        if others := by_suffix(set(found.beside).difference(texts, tables)):
            notes.append(f"{found.folder}: not read: {counted(others)}")
        for table in tables if not self.negative_column else ():
            if has_column(found.folder / table, [FILE, self.column or PROMPT], NEGATIVE):
                notes.append(f"{found.folder / table}: the column {NEGATIVE} is not read: negative_column: {NEGATIVE} takes it")
        return Captioned(found, source, captions, notes, flat=True)

    def _rows(self, found: Found, table: str) -> Iterator[tuple[str, str, Written]]:
        """Where each row is, the image that it names, and the caption."""
        there, path = set(found.files), found.folder / table
        optional = [self.negative_column] if self.negative_column else []
        for number, row in enumerate(read_rows(path, [FILE, self.column or PROMPT, *optional]), start=1):
            where = f"{path}: row {number}"
            file = file_of(row[FILE[0]], f"{where}: file_name", there, str(PurePosixPath(table).parent))
            if file not in there:
                why = "is not read as an image" if os.path.exists(found.folder / file) else "no such image"
                raise UserError(f"{where}: file_name: {why}: {found.folder / file}")
            caption = text(row[self.column or PROMPT[0]], f"{where}: {file}: {self.column or 'caption'}")
            negative = row[self.negative_column] if self.negative_column else None
            negative = None if negative is None else text(negative, f"{where}: {self.negative_column}")
            yield where, file, Written(caption, negative)

    def _beside(self, found: Found) -> Captioned:
        place, repeats = found.folder, repeats_of(found.files)
        texts = [file for file in found.beside if file.lower().endswith(TEXTS)]
        samples = pair([*found.files, *texts], lambda file: read_bytes(place / file), lambda file: str(place / file), self.key)
        notes: list[str] = []
        if bare := samples.bare:
            if not repeats:
                raise UserError(_without(found, bare[0], self.key))
            notes = [f"{place}: {len(bare)} images have their folder's name for a caption ({some(bare)})"]
            captions = samples.captions | {file: Written(repeats[folder_of(file)].subject) for file in bare}
            samples = replace(samples, captions={file: captions[file] for file in found.files}, bare=[])
        others = by_suffix(set(found.beside).difference(texts))
        notes = [*samples.notes(place, others), *notes, *settings_notes(samples.captions.values(), str(place))]
        return Captioned(found, place, samples.captions, notes)


def _without(found: Found, file: str, key: str | None) -> str:
    """What to say of an image without a caption: where one is looked for, and which files of its folder are not."""
    whole, _, _ = file.rpartition(".")
    name = PurePosixPath(whole).name
    expected = f"{name}.json with the key {key}" if key else f"{name}.txt, {name}.caption or {name}.json with the key caption"
    tables = [other for other in found.beside if not other.lower().endswith(SIDECARS)]
    unread = f"; not read: {some(tables)}" if tables else ""
    return f"{found.folder / file}: no caption: expected {expected} beside it, or {METADATA[0]}{unread}"


def _ids(files: Sequence[str], flat: bool) -> list[str]:
    """The shortest names that are each there once: without suffix, and if ``flat`` without folders; otherwise the whole ones."""
    plain = [file.rpartition(".")[0] for file in files]
    bare = [PurePosixPath(file).name for file in plain] if flat else plain
    return next((names for names in (bare, plain) if len(set(names)) == len(names)), list(files))
