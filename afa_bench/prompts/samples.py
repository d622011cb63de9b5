"""Images and the texts of their names: in a folder as in an archive, the files of one name are one sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from afa_bench.errors import UserError
from afa_bench.images.find import counted, some
from afa_bench.images.names import is_image
from afa_bench.prompts.captions import SIDECARS, decoded, written
from afa_bench.prompts.rows import parsed, text
from afa_bench.prompts.webui import Written

JSON = ".json"
TEXTS = (*SIDECARS, JSON)
"""Ends of the names of files that have an image's caption, in any case."""
CAPTION = "caption"
"""The key of a caption in ``NAME.json``, where no other is asked for."""


@dataclass
class Samples:
    """Images with their captions, and what is left over.

    Attributes:
        captions: image -> its caption, in the order of the images.
        bare: images without a caption.
        texts: texts without an image.
        differing: ``NAME.json`` whose caption is another than that of ``NAME.txt``, which is taken.
        passed: captions beside a ``NAME.json`` whose key was asked for.
    """

    captions: dict[str, Written] = field(default_factory=dict)
    bare: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    def notes(self, where: Path, others: Mapping[str, Sequence[str]]) -> list[str]:
        """How many are used, and what is not: a line each.

        Args:
            where: they are.
            others: what else is not read, by kind.
        """
        notes: list[str] = []
        if left := counted({"images without a caption": self.bare, "texts without an image": self.texts, **others}):
            notes.append(f"{where}: {len(self.captions)} images with captions are read; not read: {left}")
        if self.differing:
            notes.append(
                f"{where}: {len(self.differing)} .json have another caption than the text beside them ({some(self.differing)}): "
                f"the text's is taken; key: {CAPTION} takes the .json's"
            )
        if self.passed:
            notes.append(f"{where}: {len(self.passed)} texts beside a .json are not read ({some(self.passed)}): key is given")
        return notes


def pair(names: Iterable[str], read: Callable[[str], bytes], where: Callable[[str], str], key: str | None = None) -> Samples:
    """Find each image's caption: in ``a/0.txt``, ``a/0.caption`` or ``a/0.json`` for ``a/0.png``.

    Args:
        names: of files, with their folders.
        read: a file's bytes.
        where: a file's name for an error.
        key: of the captions in ``NAME.json``; None: ``caption``, and only where there is no other.

    Raises:
        UserError: two images, or two captions, of one name; or a text that cannot be read.
    """
    images: dict[str, str] = {}
    texts: dict[str, dict[str, str]] = {}
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        kind = dot + suffix.lower()
        if is_image(name) and (other := images.setdefault(stem, name)) != name:
            raise UserError(f"{where(other)} and {name}: expected one image of a name")
        if kind in TEXTS and (other := texts.setdefault(stem, {}).setdefault(kind, name)) != name:
            raise UserError(f"{where(other)} and {name}: expected one caption of a name")
    samples = Samples()
    for stem, image in images.items():
        own = texts.pop(stem, {})
        plain = [own[suffix] for suffix in SIDECARS if suffix in own]
        if len(plain) > 1:
            first, second = sorted(plain)
            raise UserError(f"{where(image)}: {first} and {second}: expected one caption")
        beside = _of_json(read(own[JSON]), where(own[JSON]), key or CAPTION) if JSON in own else None
        caption = beside
        if plain and key is None:
            caption = written(decoded(read(plain[0]), where(plain[0])))
            if beside is not None and beside.text.strip() != caption.text:
                samples.differing.append(own[JSON])
        elif plain:
            samples.passed.append(plain[0])
        if caption is None:
            samples.bare.append(image)
        else:
            samples.captions[image] = caption
    samples.texts = [name for own in texts.values() for name in own.values()]
    return samples


def _of_json(data: bytes, where: str, key: str) -> Written | None:
    """The caption in a JSON document; None where it has no such key, or null."""
    document = parsed(decoded(data, where), where)
    value = document.get(key) if isinstance(document, dict) else None
    return None if value is None else Written(text(value, f"{where}: {key}"))
