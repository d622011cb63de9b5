"""How all figures look, and how they are written: the same bytes for the same figure."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench.errors import UserError, suggest
from afa_bench.log import LOG
from afa_bench.store.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
DPI = 200

AFA = "#D55E00"
OTHERS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D3A9B", "#8C6D31", "#4D4D4D")
"""Colours that people with any colour vision can tell apart (Okabe and Ito, 2008, and darker ones of that kind)."""
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")
INK, GRID = "#222222", "#DDDDDD"

SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "text.parse_math": False,  # a dollar in a label is a dollar
    "svg.hashsalt": "afa-bench",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
}


@contextmanager
def styled() -> Iterator[None]:
    """Within it, matplotlib draws in this style, whatever the user's settings are.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError('figures need matplotlib: pip install "afa-bench[figures]"') from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def check_file(file: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        UserError: an unknown one.
    """
    form = file.suffix.lower().lstrip(".")
    if form not in FORMATS:
        raise UserError(f"{file}: unknown kind of picture {form!r}: {suggest(form, FORMATS)}")
    return form


def write_figure(figure: Figure, file: Path) -> None:
    """Write a figure in the format of the file's name, without dates or versions in it."""
    form = check_file(file)
    metadata: dict[str, Any] = {
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }[form]
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        figure.savefig(buffer, format=form, dpi=DPI, metadata=metadata, bbox_inches="tight", pad_inches=0.08)
    numbers = {int(number) for warning in found for number in re.findall(r"^Glyph (\d+)", str(warning.message))}
    if letters := "".join(map(chr, sorted(numbers))):
        LOG.warning("%s: boxes stand in the place of letters that the figures' font does not have: %s", file, letters)
    write_bytes(file, buffer.getvalue())
