"""Tar archives in the layout of webdataset: files of one base name are one sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar

from afa_bench.errors import UserError
from afa_bench.images.stored import SUFFIXES, Picture, in_tar
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked

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
        place = folder / self.path.expanduser()
        archives = sorted(place.parent.glob(place.name))
        if not archives:
            raise UserError(f"{place}: no such archive")
        return checked([prompt for archive in archives for prompt in self._prompts(archive)], place)

    def _prompts(self, archive: Path) -> Iterator[Prompt]:
        texts = self._texts(archive)
        pictures: dict[str, Picture] = {PurePosixPath(name).stem: picture for name, picture in in_tar(archive).items()}
        for name, text in sorted(texts.items()):
            if name in pictures:
                yield Prompt(f"{archive.name}/{name}", text, image=pictures[name])

    def _texts(self, archive: Path) -> dict[str, str]:
        """Base name -> caption."""
        found: dict[str, str] = {}
        try:
            with tarfile.open(archive, "r:*") as members:
                for member in members:
                    name = PurePosixPath(member.name)
                    if member.isfile() and name.suffix in (".txt", ".json") and member.size <= LONGEST:
                        content = members.extractfile(member)
                        text = content.read().decode() if content else ""
                        if name.suffix == ".txt":
                            found[name.stem] = text.strip()
                        elif isinstance(value := json.loads(text).get(self.key), str):
                            found.setdefault(name.stem, value)
        except (OSError, ValueError, AttributeError, EOFError, tarfile.TarError) as error:
            raise UserError(f"{archive}: expected an archive of {', '.join(SUFFIXES)} with .txt or .json: {error}") from error
        return found
