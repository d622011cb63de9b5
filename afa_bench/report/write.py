"""The report's folder: the page with its scripts and styles, the data, the images."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from afa_bench.markup import html
from afa_bench.report.data import page_data
from afa_bench.report.images import Mode, place_images
from afa_bench.report.rows import read_rows
from afa_bench.store.outputs import output_folder
from afa_bench.tables.build import build_table
from afa_bench.tables.load import Results

PAGE = "index.html"
DATA = "data.js"


def write_report(results: Results, out: Path, mode: Mode, stage: Callable[[str, int], Callable[[int], None]]) -> None:
    """Write a report of a suite's results, in place of an earlier report that is there.

    Args:
        results: what was read.
        out: the folder.
        mode: what becomes of the images.
        stage: told of each part of the work and how many steps it has; returns what is told of steps done.

    Raises:
        UserError: damaged results, or a folder that holds something else or cannot be written.
    """
    out = out.resolve()  # links to images are relative to where the page really is
    table = build_table(results)
    rows = read_rows(results.cells)
    with output_folder(out, "report") as folder:
        names = [own.get("file", []) for own in rows.own]
        advance = stage("images", sum(name is not None for column in names for name in column))
        images = [
            place_images(result, column, folder, out, mode, advance) for result, column in zip(results.cells, names, strict=True)
        ]
        advance = stage("pairs", sum(len(section.rows) for section in table.sections))
        write_page(page_data(results, table, rows, images, advance), folder)


def write_page(data: dict[str, Any], folder: Path) -> None:
    """The page with its scripts and styles, and the data as a script: a page from the file system may fetch nothing else."""
    for entry in (files("afa_bench.report") / "page").iterdir():
        content = entry.read_text(encoding="utf-8")
        if entry.name == PAGE:
            content = content.replace("{{title}}", html(f"{data['suite']}, revision {data['revision']}"))
        (folder / entry.name).write_text(content, encoding="utf-8")
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")  # parsed as a string of JSON, it loads faster than as a script
    (folder / DATA).write_text(f"const REPORT = JSON.parse('{quoted}');\n", encoding="ascii")
