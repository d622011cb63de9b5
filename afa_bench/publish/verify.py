"""Check a submission: every file against its sha256, every row against itself, every table and hub file made again.

This finds damage, and numbers that do not follow from the rows. It cannot find rows that were invented whole: for that, run the
suite and compare the rows (``afa-bench compare``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from afa_bench.errors import NotFoundError, NothingToDoError, UserError
from afa_bench.identity import fingerprint, sample_id, seed_of
from afa_bench.publish.hub import Benchmark
from afa_bench.publish.submission import CELL_FILES, MANIFEST, derived, files_of, sha256
from afa_bench.stats import mean_interval
from afa_bench.store.columns import read_columns
from afa_bench.store.layout import checked
from afa_bench.store.reads import reads
from afa_bench.tables.load import CellResult, MetricFile, load_results
from afa_bench.tables.pairs import Samples, read_samples

CLOSE = 1e-9
"""Relative difference at which two means of the same numbers are the same, whatever machine added them up."""

IDS = ("prompt_id", "image_index", "repeat")


@dataclass(frozen=True)
class Check:
    """What a verification looked at and found.

    Attributes:
        files, rows, values: how many were checked: files by their hash, samples, and means computed again.
        unchecked: titles of the metrics whose values do not follow from the rows (those of whole sets of images).
        images: images checked against their rows.
        problems: one line each, naming the file; none if all is well.
        partial: values over fewer samples than there are, a line each.
        digest: sha256 of the manifest.
    """

    files: int
    rows: int
    values: int
    images: int
    unchecked: tuple[str, ...]
    problems: tuple[str, ...]
    partial: tuple[str, ...]
    digest: str


@reads
def verify(folder: Path) -> Check:
    """Check everything.

    Raises:
        UserError: no submission there, of a later schema, or an empty one.
    """
    manifest = checked(folder / MANIFEST)
    if manifest is None:
        raise NotFoundError(f"{folder / MANIFEST}: missing: expected a folder that `afa-bench export` made")
    files, benchmark, home = _fields(manifest, folder / MANIFEST)
    problems, partial = [*_files(folder, files)], list[str]()
    counts = {"rows": 0, "values": 0, "images": 0}
    unchecked: dict[str, None] = {}
    try:
        results = load_results(folder / home)
        for result in results.cells:
            partial += _partial(result)
            problems += (f"{folder / home / result.folder.name}/{words}" for words in _cell(result, counts, unchecked))
        planned = manifest.get("planned", len(results))
        if not isinstance(planned, int) or planned < len(results):
            raise UserError(
                f"{folder / MANIFEST}: planned: expected a number of cells, {len(results)} at least, found {planned!r}"
            )
        if planned > len(results):
            partial.append(f"under way when it was exported: {len(results)} of {planned} cells")
        for name, text in derived(results, benchmark, planned).items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode():
                problems.append(f"{folder / name}: is not what the results come to")
    except UserError as error:  # damaged results are a finding here, not a mistake of whoever checks them
        problems.append(str(error))
    digest = sha256(folder / MANIFEST)
    return Check(
        len(files),
        **counts,
        unchecked=tuple(unchecked),
        problems=tuple(dict.fromkeys(problems)),
        partial=tuple(partial),
        digest=digest,
    )


def _fields(manifest: Mapping[str, Any], file: Path) -> tuple[dict[str, str], Benchmark, str]:
    files, home, benchmark = manifest.get("files"), manifest.get("results"), manifest.get("benchmark")
    if not isinstance(files, dict) or not isinstance(home, str) or not isinstance(benchmark, dict):
        raise UserError(f"{file}: expected the keys files, results and benchmark")
    if not files:
        raise NothingToDoError(f"{file}: files: none")
    for name in [*files, home]:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise UserError(f"{file}: {name!r}: expected a path inside the submission")
    return files, Benchmark(benchmark.get("dataset"), benchmark.get("source")), home


def _files(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    there = set(files_of(folder))
    for name, digest in files.items():
        path = folder / name
        if name not in there:
            yield f"{path}: missing"
        elif path.is_symlink() or not path.is_file():
            yield f"{path}: is no plain file"
        elif sha256(path) != digest:
            yield f"{path}: changed: its sha256 is not that of {MANIFEST}"
    yield from (f"{folder / name}: is not in {MANIFEST}" for name in sorted(there - set(files)))


def _cell(result: CellResult, counts: dict[str, int], unchecked: dict[str, None]) -> Iterator[str]:
    """What is wrong with a cell: a path inside its folder, and words."""
    cell, summary = result.cell, result.summary
    about, file, totals = CELL_FILES
    if fingerprint(cell.identity) != cell.fingerprint:
        yield f"{about}: fingerprint: not that of the identity"
    if summary is None:
        yield f"{totals}: missing"
        return
    samples = read_samples(result.folder / file)
    counts["rows"] += len(samples.ids)
    if summary.samples != len(samples.ids):
        yield f"{totals}: samples: {summary.samples}, but {file} has {len(samples.ids)} rows"
    failed = len(samples.ids) - samples.errors.null_count
    if summary.failed != failed:
        yield f"{totals}: failed: {summary.failed}, but {file} has {failed} rows with an error"
    if failed:
        yield f"{file}: {failed} of {len(samples.ids)} samples failed"
    yield from _rows(result, counts)
    for key, entry in summary.metrics.items():
        if entry.kind == "set":
            unchecked[entry.title] = None
        else:
            counts["values"] += 1
            yield from _value(key, entry, samples)


def _partial(result: CellResult) -> Iterator[str]:
    for entry in result.summary.metrics.values() if result.summary else ():
        if entry.n < result.planned:
            yield f"{result.title}: {entry.title}: {entry.n} of {result.planned} samples have a value"


def _value(key: str, entry: MetricFile, samples: Samples) -> Iterator[str]:
    column = samples.metrics.get(key)
    again = mean_interval(column, samples.prompts) if column is not None else mean_interval([])
    for name, stated, found in (
        ("value", entry.value, again.value),
        ("low", entry.low, again.low),
        ("high", entry.high, again.high),
    ):
        known = found if math.isfinite(found) else None
        same = stated is known
        if stated is not None and known is not None:
            same = math.isclose(stated, known, rel_tol=CLOSE, abs_tol=CLOSE**2)
        if not same:
            yield f"summary.json: metrics.{key}.{name}: {stated}, but the rows come to {known}"
            return
    if entry.n != again.n:
        yield f"summary.json: metrics.{key}.n: {entry.n}, but {again.n} rows have a value"


def _rows(result: CellResult, counts: dict[str, int]) -> Iterator[str]:
    """The rows' ids and seeds against what they are made from, and the images that are there against the rows."""
    file = result.folder / CELL_FILES[1]
    names = ("sample_id", "seed", "file", "sha256", *IDS)
    table = read_columns(file, lambda field: field.name in names, "a submission has its rows")
    try:
        rows = table.to_pylist()
    except (ValueError, pa.ArrowException) as error:
        raise UserError(f"{file}: corrupt: {error}") from error
    suite_seed = result.cell.identity.get("seed")
    images = result.folder / "images"
    there = {path.name for path in images.iterdir()} if images.is_dir() else set()
    for row in rows:
        if all(row.get(name) is not None for name in IDS):
            prompt, index, repeat = (row[name] for name in IDS)
            if row["sample_id"] != sample_id(prompt, index, repeat):
                yield f"{file.name}: sample {row['sample_id']}: not the name of prompt {prompt}, image {index}, repeat {repeat}"
            elif suite_seed is not None and row.get("seed") not in (None, seed_of(suite_seed, prompt, index, repeat)):
                yield f"{file.name}: sample {row['sample_id']}: seed: not the one that the suite's seed gives"
        if row.get("file") in there and row.get("sha256"):
            counts["images"] += 1
            if sha256(images / row["file"]) != row["sha256"]:
                yield f"images/{row['file']}: changed: its sha256 is not that of its row, {row['sample_id']}"
