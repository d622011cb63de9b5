"""Which of the paper's figures is drawn how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from afa_bench.chosen import is_meant
from afa_bench.errors import NothingToDoError, UserError
from afa_bench.paper.figures import images, lines
from afa_bench.paper.figures.style import check_file, styled, write_figure
from afa_bench.tables.build import build_table
from afa_bench.tables.load import Results
from afa_bench.tables.model import Table

FIGURES = {
    1: "where each model predicts the noise best",
    4: "a metric against the steps",
    6: "what SABW attends to",
    7: "images against the steps",
    8: "a metric against the training samples",
}
MAPS = {1: "afa-bench wins", 6: "afa-bench maps PROMPT"}
"""Figures of what happens inside the models, and the commands which draw them."""


def draw_figure(
    number: int,
    results: Results,
    file: Path,
    *,
    metric: str = "",
    groups: Sequence[str] = (),
    only: Sequence[str] = (),
    prompts: Sequence[str] = (),
) -> None:
    """Draw a figure of the paper's and write it.

    Args:
        number: 4, 7 or 8.
        results: what was read.
        file: to write; its name's end says in which format.
        metric: a key; ImageReward, as in the paper, or the first metric of samples by default.
        groups: of models; all by default, for figure 7 the first.
        only: methods, by name or row; the base models and afa by default for figure 4, and all for figure 7.
        prompts: ids, for figure 7.

    Raises:
        UserError: no such figure, an unknown name, or results which do not have it.
    """
    if number not in FIGURES:
        known = ", ".join(map(str, FIGURES))
        raise UserError(f"figure {number}: expected one of {known}: the paper's others are drawings, or images chosen by hand")
    check_file(file)
    if prompts and number != 7:
        raise UserError("--prompt: figure 7 alone shows images")
    with styled():
        if number == 4:
            figure = lines.against_steps(_table(results, metric, groups, only or _bases_and_afa(results)))
        elif number == 8:
            figure = lines.against_training(_table(results, metric, groups, only))
        else:
            cells = images.one_group(results, groups[0] if groups else "")
            labels = [cell.cell.label for cell in cells]
            cells = [cell for cell in cells if not only or is_meant(only, cell.cell.label, cell.cell.method, labels)]
            if not cells:
                raise NothingToDoError(f"none of the methods chosen has results: {', '.join(only)}")
            figure = images.against_steps(cells, prompts)
        write_figure(figure, file)


def _table(results: Results, metric: str, groups: Sequence[str], only: Sequence[str]) -> Table:
    sampled = [
        key
        for key, known in results.metrics.items()
        if known.kind == "per-sample"
        and any(result.cell.task == "generate" and result.summary and key in result.summary.metrics for result in results.cells)
    ]
    if not metric and not sampled:
        raise NothingToDoError("these results have no metric of sampled images: expected --metrics KEY")
    key = metric or ("imagereward" if "imagereward" in sampled else sampled[0])
    return build_table(results, metrics=[key], groups=groups, only=only)


def _bases_and_afa(results: Results) -> list[str]:
    there = {result.cell.method for result in results.cells}
    return [name for name in ("base", "afa") if name in there]
