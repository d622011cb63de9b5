"""Letters in pictures: the font that has them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from PIL import ImageFont

from afa_bench.log import LOG

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

OTHERS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-microhei.ttc",
    "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "unifont.ttf", "Arial Unicode.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc",
    "arial.ttf", "msyh.ttc", "msgothic.ttc", "malgun.ttf",
)  # fmt: skip
"""Fonts of other letters than those of ASCII, looked for where Linux, macOS and Windows have fonts, in this order."""

NOWHERE = "\U0010fffe"
"""What no font has: its picture is the box that stands for missing letters."""


def font_for(text: str, size: float) -> Font:
    """Pillow's own font where it has all letters of a text, else the font here that lacks the fewest; what it lacks is said.

    Args:
        text: that is to be written.
        size: in pixels.
    """
    wanted = frozenset(letter for letter in text if not letter.isspace())
    best, lacking = None, wanted
    for name in _fonts() if wanted else ("",):
        left = frozenset(letter for letter in wanted if not _has(name, letter))
        if best is None or len(left) < len(lacking):
            best, lacking = name, left
        if not left:
            break
    if lacking:
        _say("".join(sorted(lacking)))
    return _font(best or "", size)


@cache
def _fonts() -> tuple[str, ...]:
    """Names and files of the fonts that are here; Pillow's own is the first, and has no name."""
    return ("", *(name for name in _candidates() if _opens(name)))


def _candidates() -> Iterator[str]:
    yield from OTHERS
    spec = find_spec("matplotlib")  # not imported: its fonts alone are of use
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield str(Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


def _opens(name: str) -> bool:
    try:
        _font(name, 12)
    except (OSError, ImportError):
        return False
    return True


@cache
def _font(name: str, size: float) -> Font:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size=size)


@cache
def _has(name: str, letter: str) -> bool:
    font = _font(name, 12)
    one, box = font.getmask(letter), font.getmask(NOWHERE)
    return (one.size, bytes(one)) != (box.size, bytes(box))


@cache  # once a process
def _say(letters: str) -> None:
    LOG.warning("boxes stand in the place of letters that no font here has: %s", letters)
