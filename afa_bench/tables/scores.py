"""Folders that ``afa-bench score`` made, as results: a row a folder, no steps; pairs are images of the same prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from afa_bench.store.layout import checked
from afa_bench.tables.load import CellFile, CellResult, Results, SummaryFile, as_file, assembled, load_results

SUITE = "scores"
"""What stands in for a suite's name, and a group's."""

ALONE = "images"
"""The row of a folder that is read on its own, so that two such folders can be compared."""


def open_results(folder: Path, *, scored: bool = True) -> Results:
    """A suite's results, or scores: of one folder of images, or of all those that lie in a folder.

    Args:
        folder: that they are in.
        scored: as of :func:`afa_bench.tables.load.load_results`.

    Raises:
        UserError: as :func:`afa_bench.tables.load.load_results`.
    """
    if is_scores(folder):
        return load_scores([folder])
    inside = sorted(filter(is_scores, folder.iterdir())) if folder.is_dir() and not any(folder.glob("*/cell.json")) else []
    return load_scores(inside, folder) if inside else load_results(folder, scored=scored)


def load_scores(folders: Sequence[Path], home: Path | None = None) -> Results:
    """Scores of several folders of images, a row each; of one, unless a ``home`` is given that they lie in, the row "images".

    Raises:
        UserError: damaged, or not scored in the same way.
    """
    if home is None and len(folders) == 1:
        return assembled(folders[0], [_read(folders[0], ALONE, 0)], 1)
    names = [folder.name for folder in folders]
    labels = [folder.name if names.count(folder.name) == 1 else str(folder) for folder in folders]
    found = [_read(folder, label, order) for order, (folder, label) in enumerate(zip(folders, labels, strict=True))]
    return assembled(home or folders[0].parent, found, len(found))


def together(parts: Sequence[Results]) -> list[Results]:
    """Results that stand side by side; scores of folders of images become one, with a row each."""
    scores = [part for part in parts if all(result.cell.task == "score" for result in part)]
    if len(scores) < 2:
        return list(parts)
    rows = load_scores([result.folder for part in scores for result in part])
    return [*(part for part in parts if part not in scores), rows]


def is_scores(folder: Path) -> bool:
    """Whether ``afa-bench score`` made a folder: it has a summary, and is no cell of a suite's."""
    return (folder / "summary.json").is_file() and not (folder / "cell.json").exists() and "images" in (_content(folder) or {})


def _content(folder: Path) -> dict[str, object] | None:
    content: dict[str, object] | None = checked(folder / "summary.json")
    return content


def _read(folder: Path, label: str, order: int) -> CellResult:
    content = _content(folder) or {}
    mark = hashlib.sha256(json.dumps([content.get("images"), content.get("metrics")], sort_keys=True).encode()).hexdigest()
    summary = as_file({**content, "fingerprint": mark}, folder / "summary.json", SummaryFile)
    cell = CellFile(
        suite=SUITE,
        revision=1,
        group=SUITE,
        method=ALONE,
        label=label,
        order=order,
        task="score",
        steps=None,
        fingerprint=mark,
        identity={"as_seen": bool(content.get("as_seen"))},
    )
    return CellResult(folder, cell, summary)
