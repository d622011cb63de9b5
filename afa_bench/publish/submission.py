"""A submission: results, the tables made from them and what the hub reads, with the sha256 of every file.

    submission.json            what is here: suite, revision, sha256 of all other files
    README.md                  the table, with where the hub's data sets find the rows in its head
    results/<suite>/<cell>/    cell.json, samples.parquet, summary.json, and images/ where asked for
    tables/                    table.md, table.csv, table.json, table.tex
    hub/<group>-<row>/         README.md with the model-index, .eval_results/<suite>.yaml

The tables and the hub's files depend on the results alone: whoever gets a submission can make them again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from afa_bench import __version__
from afa_bench.errors import NotFoundError, UserError
from afa_bench.publish.hub import Benchmark, as_yaml, card, eval_results
from afa_bench.store.atomic import write_json
from afa_bench.store.columns import read_columns
from afa_bench.store.layout import SCHEMA
from afa_bench.store.outputs import RECORD, output_folder
from afa_bench.store.reads import names_in, whole
from afa_bench.store.rows import OF_SUITE, encode_rows
from afa_bench.tables import build_table, render
from afa_bench.tables.load import CellResult, Results, load_results

MANIFEST = "submission.json"
BESIDE = {RECORD, ".git", ".gitattributes", ".gitignore", ".DS_Store", "Thumbs.db"}
"""Names of files and folders that git, a file browser or ``export`` itself puts beside a submission."""

ROWS = "samples.parquet"
CELL_FILES = ("cell.json", ROWS, "summary.json")
WHY = "a submission has its rows"
TABLES = {"md": "markdown", "csv": "csv", "json": "json", "tex": "latex"}


def export(results: Results, out: Path, benchmark: Benchmark, images: bool, advance: Callable[[int], None]) -> str:
    """Write a submission, in place of an earlier one that is there.

    Args:
        results: what was read; of a run that is under way the cells that are scored.
        out: the folder.
        benchmark: how the suite is called on the hub.
        images: whether the images go with the rows.
        advance: told after each cell.

    Returns:
        The sha256 of ``submission.json``, which stands for all of it.

    Raises:
        UserError: a cell that is not scored or has no samples, or a folder which holds something else or cannot be written.
    """
    if any(result.cell.task == "score" for result in results.cells):
        raise UserError(f"{results.folder}: scores of images; expected the results of a suite, which others can run")
    with output_folder(out, "export") as folder:
        home = folder / "results" / plain(results.suite)
        values = _values(results)
        for result in results.cells:
            for name in CELL_FILES if result.summary else ():
                if not (result.folder / name).is_file():
                    raise NotFoundError(f"{result.folder / name}: missing: run the suite to its end first")
                if name != ROWS:
                    _copy(result.folder / name, home / result.folder.name / name)
            if result.summary:
                (home / result.folder.name / ROWS).write_bytes(_rows(result, values))
            for name in names_in(result.folder / "images") if images and result.summary else ():
                if name.endswith(".png"):
                    _copy(result.folder / "images" / name, home / result.folder.name / "images" / name)
            advance(1)
        for name, text in derived(load_results(home), benchmark, results.planned).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text.encode())
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "program": f"afa-bench {__version__}",
            "suite": results.suite,
            "revision": results.revision,
            "results": f"results/{plain(results.suite)}",
            "benchmark": vars(benchmark),
            **({"planned": results.planned} if results.under_way else {}),
            "files": {name: sha256(folder / name) for name in files_of(folder)},
        }
        write_json(folder / MANIFEST, manifest)
        return sha256(folder / MANIFEST)


def derived(results: Results, benchmark: Benchmark, planned: int) -> Mapping[str, str]:
    """All files that depend on the results alone, and on how many cells there will be: path -> text."""
    table = build_table(replace(results, planned=planned))
    texts = {f"tables/table.{ending}": render(table, form) for ending, form in TABLES.items()}
    rows = {"config_name": plain(results.suite), "data_files": f"results/{plain(results.suite)}/*/{ROWS}"}
    texts["README.md"] = f"---\n{as_yaml({'configs': [rows]})}---\n\n{texts['tables/table.md']}"
    for section in table.sections:
        for number, row in enumerate(section.rows):
            place = f"hub/{plain(section.name)}-{number:02d}-{plain(row.label)}"
            texts[f"{place}/README.md"] = card(table, section.name, row, benchmark)
            if benchmark.dataset:
                entries = as_yaml(eval_results(table, row, benchmark))
                texts[f"{place}/.eval_results/{plain(table.suite)}.yaml"] = entries
    return texts


def plain(name: str) -> str:
    """A name as part of a path."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:80] or "_"


def files_of(folder: Path) -> list[str]:
    """All files below a folder but the manifest and :data:`BESIDE`, as relative paths with slashes, sorted."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for name in found if name != MANIFEST and not BESIDE.intersection(name.split("/")))


def sha256(path: Path) -> str:
    """Of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _values(results: Results) -> dict[str, None]:
    """The columns of metrics that any cell has, those of the suite's own metrics first."""
    found: dict[str, None] = {}
    for result in results.cells:
        if (result.folder / ROWS).is_file():  # or it is refused when it is copied
            found |= dict.fromkeys(read_columns(result.folder / ROWS, lambda field: field.name not in OF_SUITE, WHY).column_names)
    return {key: None for key in results.metrics if key in found} | found


def _rows(result: CellResult, values: Iterable[str]) -> bytes:
    """A cell's rows with the columns of all cells, which those of an earlier afa-bench need not have."""
    table = read_columns(result.folder / ROWS, lambda field: True, WHY)
    if tuple(table.column_names) == (*OF_SUITE, *values):
        return whole(result.folder / ROWS)
    cell = result.cell
    place = {"group": cell.group, "method": cell.method, "label": cell.label, "steps": cell.steps}
    return encode_rows(table.to_pylist(), place, values)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(whole(source))
