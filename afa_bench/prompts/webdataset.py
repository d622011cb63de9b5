"""Tar archives in the layout of webdataset: files of one base name are one sample."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar

from afa_bench.errors import UserError
from afa_bench.images.names import SUFFIXES, is_hidden
from afa_bench.images.stored import DAMAGED, Picture, in_tar
from afa_bench.paths import expanded
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.captions import decoded, written
from afa_bench.prompts.file import checked
from afa_bench.prompts.rows import parsed, text
from afa_bench.prompts.webui import Written

LONGEST = 2**20
"""Bytes that a caption's file may have."""


class WebDatasetPrompts(PromptSet):
    """Images with captions in archives: ``NAME.jpg`` with ``NAME.txt``, or with ``NAME.json`` which has the caption under a key.

    Attributes:
        path: an archive, or several with ``*``, relative to the suite. Their images are unpacked beside them.
        key: of the caption in ``NAME.json``, where there is no ``NAME.txt``.
    """

    source: ClassVar[str] = "archives of the user's"
    licence: ClassVar[str] = "the user's"

    path: Path
    key: str = "caption"

    def prompts(self, folder: Path) -> list[Prompt]:
        """One prompt a captioned image, in the order of the archives and of the names in them; an id is ``ARCHIVE/NAME``.

        Raises:
            UserError: no such archive, a damaged one, or one without a captioned image.
        """
        place = folder / expanded(self.path)
        archives = sorted(place.parent.glob(place.name))
        if not archives:
            raise UserError(f"{place}: no such archive")
        return checked([prompt for archive in archives for prompt in self._prompts(archive)], place)

    def _prompts(self, archive: Path) -> Iterator[Prompt]:
        texts = self._texts(archive)
        pictures: dict[str, Picture] = {}
        for name, picture in in_tar(archive).items():
            if pictures.setdefault(PurePosixPath(name).stem, picture) is not picture:
                raise UserError(f"{archive}: {PurePosixPath(name).stem}: expected one image of a name")
        for name, caption in sorted(texts.items()):
            if name in pictures:
                yield Prompt(f"{archive.name}/{name}", caption.text, image=pictures[name], negative=caption.negative or None)

    def _texts(self, archive: Path) -> dict[str, Written]:
        """Base name -> caption; that of a .txt before that of a .json."""
        found: dict[str, dict[str, Written]] = {".txt": {}, ".json": {}}
        try:
            with tarfile.open(archive, "r:*") as members:
                for member in members:
                    name = PurePosixPath(member.name)
                    kind = name.suffix.lower()
                    if not member.isfile() or kind not in found or any(map(is_hidden, name.parts)):
                        continue
                    if member.size > LONGEST:
                        raise UserError(f"{archive}: {member.name}: {member.size} bytes, expected a caption of at most {LONGEST}")
                    content = members.extractfile(member)
                    caption = self._caption(content.read() if content else b"", f"{archive}: {member.name}")
                    if caption and found[kind].setdefault(name.stem, caption) is not caption:
                        raise UserError(f"{archive}: {member.name}: expected one caption of a name")
        except UserError:
            raise
        except DAMAGED as error:
            raise UserError(f"{archive}: expected an archive of {', '.join(SUFFIXES)} with .txt or .json: {error}") from error
        return {**found[".json"], **found[".txt"]}

    def _caption(self, data: bytes, where: str) -> Written | None:
        """What a file has as a caption; None where a .json has none."""
        content = decoded(data, where)
        if where.lower().endswith(".txt"):
            return written(content)
        document = parsed(content, where)
        value = document.get(self.key) if isinstance(document, dict) else None
        return Written(text(value, f"{where}: {self.key}")) if isinstance(value, str) else None
