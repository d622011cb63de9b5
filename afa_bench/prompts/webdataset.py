"""Tar archives in the layout of webdataset: files of one name, with its folders, are one sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from afa_bench.errors import UserError
from afa_bench.images.archives import UNPACKED, Tar, read_tar
from afa_bench.images.find import by_suffix
from afa_bench.images.names import is_hidden, is_image
from afa_bench.paths import expanded
from afa_bench.prompts.base import Prompt, PromptSet
from afa_bench.prompts.file import checked
from afa_bench.prompts.samples import TEXTS, Samples, pair
from afa_bench.prompts.webui import settings_notes

LONGEST = 2**20
"""Bytes that a caption's file may have."""


class WebDatasetPrompts(PromptSet):
    """Images with captions in archives: ``a/0.jpg`` with ``a/0.txt``, or with ``a/0.json`` which has the caption under a key.

    Attributes:
        path: an archive, or several with ``*``, relative to the suite. Compressed ones are unpacked beside them.
        key: of the caption in ``NAME.json``, which is then taken in any case; by default ``caption``, where there is no text
            ``NAME.txt`` or ``NAME.caption``.
    """

    source: ClassVar[str] = "archives of the user's"
    licence: ClassVar[str] = "the user's"

    path: Path
    key: str | None = None

    def prompts(self, folder: Path) -> list[Prompt]:
        """One prompt a captioned image, in the order of the archives and of the names in them; an id is ``ARCHIVE/NAME``.

        Raises:
            UserError: no such archive, a damaged or incomplete one, or one without a captioned image.
        """
        prompts: list[Prompt] = []
        for archive in self._archives(folder):
            tar = read_tar(archive)
            captions = {name.rpartition(".")[0]: (name, own) for name, own in self._samples(archive, tar).captions.items()}
            for stem in sorted(captions, key=lambda stem: stem.split("/")):
                name, caption = captions[stem]
                identity = f"{archive.name}/{stem}"
                prompts.append(Prompt(identity, caption.text, image=tar.image(name), negative=caption.negative or None))
        return checked(prompts, folder / expanded(self.path))

    def notes(self, folder: Path) -> Sequence[str]:
        """How many samples each archive has that are not taken, and why; and files of other kinds."""
        notes: list[str] = []
        for archive in self._archives(folder):
            tar = read_tar(archive)
            others = [name for name in tar.files if not is_image(name) and not name.lower().endswith(TEXTS)]
            samples = self._samples(archive, tar)
            notes += samples.notes(archive, {**tar.left, **by_suffix(others)})
            notes += settings_notes(samples.captions.values(), str(archive))
        return notes

    def _archives(self, folder: Path) -> list[Path]:
        place = folder / expanded(self.path)
        found = [place] if place.is_file() else sorted(place.parent.glob(place.name))
        archives = [path for path in found if UNPACKED not in path.name and not is_hidden(path.name)]
        if not archives:
            raise UserError(f"{place}: no such archive")
        return archives

    def _samples(self, archive: Path, tar: Tar) -> Samples:
        def read(name: str) -> bytes:
            size = tar.files[name][1]
            if size > LONGEST:
                raise UserError(f"{archive}: {name}: {size} bytes, expected a caption of at most {LONGEST}")
            return tar.read(name)

        return pair(tar.files, read, lambda name: f"{archive}: {name}", self.key)
