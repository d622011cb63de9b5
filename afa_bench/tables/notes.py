"""The foot of a table: how many samples, what is missing or failed, and the versions and fingerprints behind the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from afa_bench.identity import fingerprint
from afa_bench.tables.load import CellResult, Place, Results
from afa_bench.tables.model import Cell, Column, Metric, Section, Table, alike

MOST = 4
"""Cells that are named where something is said of some; of more, only the metric is."""

SHORT = 12
"""Digits of a sha256 that a table shows."""


def foot(results: Results, table: Table, placed: Mapping[Place, CellResult]) -> tuple[str, ...]:
    """The notes of a table whose cells stand at ``placed[group, label, steps]``.

    No times and no hosts: the same rows give the same words.
    """
    metrics = list(dict.fromkeys(column.metric for column in table.columns))
    steps = {column.steps for column in table.columns}
    rows = {(section.name, row.label) for section in table.sections for row in section.rows}
    cells = [result for (group, label, count), result in placed.items() if (group, label) in rows and count in steps]
    lines = [
        f"{results.under_way.capitalize()}." if results.under_way else "",
        *_how(table, metrics),
        _samples(cells),
        _failed(cells),
        _made(cells),
        _gaps(table, placed),
        *_lacks(table),
        *missing(table),
        f"Metrics: {'; '.join(in_words(metric, results.remarks.get(metric.key, ())) for metric in metrics) or 'none yet'}.",
        *_facts(results.shared),
        f"Fingerprints: shared identity {fingerprint(dict(results.shared))[:SHORT]}, "
        f"cells shown {fingerprint(sorted(result.cell.fingerprint for result in cells))[:SHORT]}.",
    ]
    return tuple(line for line in lines if line)


def _how(table: Table, metrics: list[Metric]) -> Iterator[str]:
    if any(metric.kind == "per-sample" for metric in metrics):
        yield "Mean and 95% interval by a bootstrap clustered on the prompt."
    if table.versus is not None:
        yield (
            f"vs {table.versus}: the method minus {table.versus} on the same samples, with the interval of that difference, "
            "and in parentheses the share of samples on which the method is better."
        )
    if any(cell.spread for section in table.sections for row in section.rows for cell in row.cells):
        yield "repeats: the standard deviation of the means of each repeat, and how many repeats there are."
    sets = [metric.title for metric in metrics if metric.kind == "set"]
    if sets:
        gap = "" if table.versus is None else "; differences without one"
        yield f"{', '.join(sets)}: one value of the whole set of images, its interval over prompts{gap}."


def _samples(cells: list[CellResult]) -> str:
    counts = []
    for task, word in (("generate", "generated"), ("denoise", "denoised"), ("score", "scored")):
        found = sorted({result.summary.samples for result in cells if result.summary and result.cell.task == task})
        if found:
            counts.append(f"{'–'.join(map(str, dict.fromkeys((found[0], found[-1]))))} {word}")
    return f"Samples a cell: {', '.join(counts)}." if counts else ""


def _failed(cells: list[CellResult]) -> str:
    failed = [
        f"{result.title}: {result.summary.failed} of {result.summary.samples}"
        for result in cells
        if result.summary and result.summary.failed
    ]
    return f"Failed samples: {'; '.join(failed)}." if failed else "Failed samples: none."


def _made(cells: list[CellResult]) -> str:
    """The packages of which the samples shown were made with several versions, and the cells that are of several themselves."""
    parts = [part for result in cells for part in result.made_with]
    names = dict.fromkeys(name for part in parts for name in part)
    found = {name: dict.fromkeys(str(part.get(name)) for part in parts) for name in names}
    several = [f"{name} {' and '.join(versions)}" for name, versions in found.items() if len(versions) > 1]
    mixed = [result.title for result in cells if len(result.made_with) > 1]
    inside = f" Of several in one cell: {', '.join(mixed[:MOST])}{' and others' if mixed[MOST:] else ''}." if mixed else ""
    return f"Made with several versions: {'; '.join(several)}.{inside}" if several else ""


def _gaps(table: Table, placed: Mapping[Place, CellResult]) -> str:
    gaps: dict[tuple[str, str], list[int]] = {}
    nowhere = _nowhere(table)
    for section in table.sections:
        for row in section.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                reason = _reason(cell, column, placed.get((section.name, row.label, column.steps)))
                if reason and column.metric not in nowhere:
                    steps = gaps.setdefault((f"{row.label} ({section.name})", reason), [])
                    if column.steps is not None and column.steps not in steps:
                        steps.append(column.steps)
    parts = [f"no value of {metric.title} anywhere{_because(table, metric)}" for metric in nowhere]
    parts += [f"{row}{_at(steps)}: {reason}" for (row, reason), steps in gaps.items()]
    return f"–: {'; '.join(parts)}." if parts else ""


def _nowhere(table: Table) -> list[Metric]:
    """The metrics of which no cell has a value, such as one that needs reference images where a prompt set has none."""
    rows = [row for section in table.sections for row in section.rows]
    pairs = [pair for row in rows for pair in zip(row.cells, table.columns, strict=True)]
    known = {column.metric for cell, column in pairs if cell.value is not None}
    return [metric for metric in dict.fromkeys(column.metric for column in table.columns) if metric not in known]


def _because(table: Table, metric: Metric) -> str:
    """Why no cell has a value of a metric, where all that say so agree."""
    known = {cell.reason for _, column, cell in _shown(table) if column.metric == metric} - {None}
    return f": {known.pop()}" if len(known) == 1 else ""


def _lacks(table: Table) -> Iterator[str]:
    """What values or their intervals lack, and where: samples without one, prompts for an interval."""
    valued = [(place, column, cell) for place, column, cell in _shown(table) if cell.value is not None]
    reasons: dict[str, dict[str, list[str]]] = {}
    for place, column, cell in valued:
        if cell.reason:
            reasons.setdefault(cell.reason, {}).setdefault(column.metric.title, []).append(place)
    for reason, metrics in reasons.items():
        if sum(map(len, metrics.values())) == len(valued):
            yield f"All values: {reason}."
        else:
            places = (title if len(found) > MOST else f"{title} of {', '.join(found)}" for title, found in metrics.items())
            yield f"{'; '.join(places)}: {reason}."


def missing(table: Table) -> Iterator[str]:
    """How many samples have no value, where; and which columns are not ranked for it."""
    gaps: dict[str, list[str]] = {}
    for place, column, cell in _shown(table):
        if cell.value is not None and cell.of is not None:
            gaps.setdefault(column.metric.title, []).append(f"{cell.of - cell.n} of {cell.of} of {place}")
    if gaps:
        yield f"Missing values: {'; '.join(f'{title}: {_some(places)}' for title, places in gaps.items())}."
    unlike = [
        f"{column.metric.title}{_at([] if column.steps is None else [column.steps])}{_inside(section)}"
        for section in table.sections
        for index, column in enumerate(table.columns)
        if not alike(*(row.cells[index] for row in section.rows))
    ]
    if unlike:
        yield f"Not ranked{'' if table.versus is None else ' or paired'}, since rows are over different samples: {_some(unlike)}."


def _some(places: list[str]) -> str:
    more = len(places) - MOST
    return ", ".join(places[:MOST]) + (f" and {more} more" if more > 0 else "")


def _shown(table: Table) -> Iterator[tuple[str, Column, Cell]]:
    """Every cell, with its place in words and its column."""
    for section in table.sections:
        for row in section.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                yield f"{row.label}{_inside(section)}{_at([] if column.steps is None else [column.steps])}", column, cell


def _inside(section: Section) -> str:
    return f" ({section.title})" if section.title else ""


def _reason(cell: Cell, column: Column, result: CellResult | None) -> str:
    """Why a cell shows a dash; empty where it shows a number."""
    if cell.value is None:
        if result is not None and result.summary is not None:
            return f"no value of {column.metric.title}{f': {cell.reason}' if cell.reason else ''}"
        reason = "not run" if result is None else "not scored"
        return reason if column.steps is not None else f"{column.metric.title} {reason}"
    if cell.difference is not None and not math.isfinite(cell.difference.value):
        return f"no pairs for {column.metric.title}{'' if cell.of is None else ' over the same samples'}"
    return ""


def _at(steps: list[int]) -> str:
    return f" at {', '.join(map(str, steps))} steps" if steps else ""


def in_words(metric: Metric, remarks: tuple[str, ...]) -> str:
    """A metric's version and weights, and what its summaries remark."""
    weights = ", ".join(f"{name} {sha256[:SHORT]}" for name, sha256 in metric.weights)
    words = f"{metric.title} version {metric.version}{f' ({weights})' if weights else ''}"
    return ": ".join([words, *(remark.rstrip(".") for remark in remarks)])


def _facts(shared: Mapping[str, Any]) -> Iterator[str]:
    sampler = shared.get("sampler")
    if sampler:
        negative, guidance = sampler.get("negative_prompt"), sampler.get("guidance")
        if negative and isinstance(guidance, int | float) and guidance <= 1:
            sampler = {**sampler, "negative_prompt": f"{negative} (takes no part without guidance)"}
        yield f"Sampler: {_words(sampler)}."


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_words(part)}" for key, part in value.items())
    return "none" if value in (None, "") else str(value)
