"""The images of the cells, beside the page: copied, made small, or referred to where they lie."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from afa_bench.errors import UserError
from afa_bench.store.place import storage
from afa_bench.store.reads import names_in, whole
from afa_bench.tables.load import CellResult

SMALL = 256
"""Pixels of a thumbnail's longer edge; an image that is no larger is its own thumbnail."""

QUALITY = 82
"""Of thumbnails (WebP)."""


class Mode(StrEnum):
    """What becomes of the images: ``copy`` images and thumbnails, ``small`` thumbnails alone, ``link`` to where they are."""

    COPY = "copy"
    SMALL = "small"
    LINK = "link"


@dataclass
class Placed:
    """Where the page finds a cell's images.

    Attributes:
        full: URL of the folder of images, relative to the page; empty where there are none.
        thumbs: URL of the folder of thumbnails with the ending .webp; empty where the images are small themselves.
        missing: places of the samples whose image is not there, although the row names one.
        maps: a sample's place -> URLs of its attention maps.
    """

    full: str = ""
    thumbs: str = ""
    missing: list[int] = field(default_factory=list)
    maps: dict[int, list[str]] = field(default_factory=dict)


def place_images(
    result: CellResult, names: Sequence[str | None], folder: Path, home: Path, mode: Mode, advance: Callable[[int], None]
) -> Placed:
    """Bring a cell's images to the page.

    Args:
        result: the cell.
        names: a file's name a sample, None where there is no image.
        folder: of the page, where it is being made.
        home: where the page will stand: links are relative to it.
        mode: what to do.
        advance: told of images done.

    Raises:
        UserError: a name that is no plain name of a file, or a file that is no image.
    """
    source = result.folder / "images"
    there = {*names_in(source)}
    placed = Placed()
    for index, name in enumerate(names):
        if name is None:
            continue
        if Path(name).name != name or name.startswith(".") or "\\" in name:
            raise UserError(f"{result.folder / 'samples.parquet'}: column file: {name!r}: expected the plain name of a file")
        if name not in there:
            placed.missing.append(index)
        elif mode is Mode.LINK:
            placed.full = f"{_link(source, home)}/"
        else:
            _place(source / name, folder, result.folder.name, mode, placed)
        advance(1)
    _place_maps(result, names, folder, home, mode, placed)
    return placed


def _place(image: Path, folder: Path, cell: str, mode: Mode, placed: Placed) -> None:
    small = thumbnail(image)
    if small is not None:
        placed.thumbs = f"thumbs/{quote(cell)}/"
        _write(folder / "thumbs" / cell / f"{image.stem}.webp", small)
    if small is None or mode is Mode.COPY:
        placed.full = f"images/{quote(cell)}/"
        _copy(image, folder / "images" / cell / image.name)


def _place_maps(result: CellResult, names: Sequence[str | None], folder: Path, home: Path, mode: Mode, placed: Placed) -> None:
    """Pictures in the cell's ``maps/`` whose name begins with that of a sample's image belong to the sample."""
    source = result.folder / "maps"
    if not source.is_dir():
        return
    sample = {Path(name).stem: index for index, name in enumerate(names) if name is not None}
    for picture in (source / name for name in names_in(source)):
        stem = picture.name.split(".")[0].split("-")[0].split("_")[0]
        if picture.suffix not in (".png", ".webp") or stem not in sample:
            continue
        url = f"{_link(source, home)}/{quote(picture.name)}"
        if mode is not Mode.LINK:
            url = f"maps/{quote(result.folder.name)}/{quote(picture.name)}"
            _copy(picture, folder / "maps" / result.folder.name / picture.name)
        placed.maps.setdefault(sample[stem], []).append(url)


def thumbnail(path: Path) -> bytes | None:
    """A smaller form of an image in WebP; None for one that is small already.

    Raises:
        UserError: not an image, or one of a size that no honest sample has.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with path.open("rb") as file, Image.open(file) as image:
                if max(image.size) <= SMALL:
                    return None
                small = image.convert("RGB")
                small.thumbnail((SMALL, SMALL), Image.Resampling.LANCZOS)
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path}: cannot be read as an image: {error}") from error
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def _link(source: Path, home: Path) -> str:
    if storage(source) is not None:
        raise UserError(f"--images link: {source}: expected images on this machine")
    return quote(Path(os.path.relpath(source.resolve(), home.resolve())).as_posix())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _copy(source: Path, target: Path) -> None:
    _write(target, whole(source))
