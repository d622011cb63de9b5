"""What is shown of earlier results and is no part of their identity becomes the suite's of today: labels, the rows' order,
categories. No image is made again for it, and no metric computed."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from afa_bench.cells import Cell, Plan
from afa_bench.store.atomic import write_bytes
from afa_bench.store.columns import read_columns
from afa_bench.store.layout import Store
from afa_bench.store.place import storage
from afa_bench.store.rows import encode_rows
from afa_bench.workspace import Workspace


def refresh(plan: Plan, root: Path) -> None:
    """Write anew what a plan's results show, before a run goes on with them.

    Args:
        plan: of the suite as it is now.
        root: folder of all results; the plan's are below ``root / plan.name``.

    Raises:
        UserError: a file that is damaged, or cannot be written.
    """
    workspace = Workspace(plan, Store(root / plan.name), {})
    names = {cell.name for cell in plan.cells}
    for cell in plan.cells:
        if plan.whole:
            _adopt(workspace.store, cell, names)
        files = workspace.files(cell)
        about, samples = files.about(), plan.cell_samples(cell)
        if about is not None and (now := {**about, **workspace.about(cell)}) != about:
            files.write_about(now)
        if files.samples.is_file():
            shown = {"category": [sample.prompt.category for sample in samples], "label": [cell.label] * len(samples)}
            _rewrite(files.samples, [sample.id for sample in samples], shown)


def _adopt(store: Store, cell: Cell, others: Container[str]) -> None:
    """Give a cell's folder its name, if it has another: its row was labelled otherwise when it was made. Not at a URL, where
    every object would have to be copied: there it is made anew."""
    if storage(store.root) is None and not (store.root / cell.name).exists():
        for path in sorted(store.root.glob(f"*.{cell.name.partition('.')[2]}")):
            about = store.cell(path.name).about() or {}
            if path.name not in others and about.get("fingerprint") == cell.fingerprint:
                path.rename(store.root / cell.name)
                return


def _rewrite(file: Path, ids: Sequence[str], shown: Mapping[str, Sequence[Any]]) -> None:
    """Give columns of the rows of these samples other values, if they are others; rows of other samples will be scored anew."""
    found = read_columns(file, lambda field: field.name in ("sample_id", *shown), "").to_pydict()
    now = {name: list(values) for name, values in shown.items() if name in found}
    if found.pop("sample_id", None) == list(ids) and found != now:
        rows = enumerate(read_columns(file, lambda field: True, "").to_pylist())
        write_bytes(file, encode_rows([{**row, **{name: values[place] for name, values in now.items()}} for place, row in rows]))
