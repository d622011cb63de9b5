"""Images of one prompt side by side, a row a method and a column a number of steps (the paper's figure 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afa_bench.errors import NothingToDoError, UserError, suggest
from afa_bench.store.columns import read_columns
from afa_bench.tables.load import CellResult, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, MARGIN, HEAD = 0.95, 1.2, 0.5
"""A picture, the rows' names beside it and the prompt above it, in inches."""


def against_steps(cells: Sequence[CellResult], prompts: Sequence[str]) -> Figure:
    """Each prompt's first image under each row of one group, at each number of steps, from the same noise.

    Args:
        cells: of one group, in the order of their rows.
        prompts: ids; the first of the results where none is given.

    Raises:
        UserError: no such prompt.
        NothingToDoError: no images.
    """
    from matplotlib.figure import Figure

    steps = sorted({cell.cell.steps for cell in cells if cell.cell.steps is not None}, reverse=True)
    labels = list(dict.fromkeys(cell.cell.label for cell in cells if cell.cell.steps is not None))
    if not labels:
        raise NothingToDoError(f"{cells[0].folder.parent}: no images in these results")
    found = {(cell.cell.label, cell.cell.steps): _images(cell) for cell in cells if cell.cell.steps is not None}
    known = next(iter(found.values()))
    for prompt in prompts:
        if prompt not in known:
            raise UserError(f"--prompt: {prompt!r} is not in these results: {suggest(prompt, known)}")
    chosen = list(prompts) or [next(iter(known))]
    width, height = SIDE * len(steps) + MARGIN, SIDE * len(labels) + HEAD
    figure = Figure(figsize=(width, height * len(chosen)))
    parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    for part, prompt in zip(parts, chosen, strict=True):
        grid = part.subplots(len(labels), len(steps), squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
        part.subplots_adjust(left=MARGIN / width, right=1.0, bottom=0.02, top=1 - HEAD / height)
        part.suptitle(_fitted(known[prompt][1], 14 * len(steps)), fontsize=9, style="italic", y=1 - 0.12 / height)
        for label, axes_of_row in zip(labels, grid, strict=True):
            for count, axes in zip(steps, axes_of_row, strict=True):
                _show(axes, found.get((label, count), {}).get(prompt))
                if label == labels[0]:
                    axes.set_title(f"{count} steps", fontsize=8.5, fontweight="normal", loc="center", pad=3)
            axes_of_row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5, labelpad=6)
    return figure


def one_group(results: Results, group: str) -> list[CellResult]:
    """The cells of a group; of the first one where none is named."""
    known = list(dict.fromkeys(result.cell.group for result in results.cells))
    if group and group not in known:
        raise UserError(f"unknown group {group!r} in these results: {suggest(group, known)}")
    return [result for result in results.cells if result.cell.group == (group or known[0])]


def _images(cell: CellResult) -> dict[str, tuple[Path, str]]:
    """Prompt id -> its first image's file, and the prompt."""
    file = cell.folder / "samples.parquet"
    names = ("prompt_id", "prompt", "image_index", "repeat", "file")
    rows = read_columns(file, lambda field: field.name in names, "the images' names stand in it").to_pylist()
    return {
        row["prompt_id"]: (cell.folder / "images" / row["file"], row["prompt"])
        for row in sorted(rows, key=lambda row: (row["repeat"], row["image_index"]), reverse=True)
        if row["file"]
    }


def _show(axes: Any, image: tuple[Path, str] | None) -> None:
    import numpy as np
    from PIL import Image

    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.4, color="#BBBBBB")
    if image is None:
        axes.text(0.5, 0.5, "–", ha="center", va="center", transform=axes.transAxes)
        return
    try:
        with image[0].open("rb") as file:
            picture = Image.open(file).convert("RGB")
    except OSError as error:
        raise UserError(
            f"{image[0]}: cannot be read: images are not kept with published results: run the suite again to have them"
        ) from error
    axes.imshow(np.asarray(picture), interpolation="lanczos" if max(picture.size) > 200 else "bicubic")


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
