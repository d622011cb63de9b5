"""Align two results of one suite and pair their samples.

Two cells belong together when they have the same group, row, task and steps. They are comparable when all agrees that is not
under test: the suite and its revision, the shared part of their identities (prompts, seed, size, dtype, sampler), the scheduler's
settings, and a metric's version and weights. The models, the aggregator and the method's version may differ: they are under test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afa_bench.differences import Difference, paired_difference
from afa_bench.gate.model import Comparison, Evidence, Verdict
from afa_bench.gate.selection import Selection
from afa_bench.stats import LEVEL
from afa_bench.store.place import storage
from afa_bench.tables.apart import apart
from afa_bench.tables.load import CellFile, CellResult, MetricFile, Results, shared_identity
from afa_bench.tables.model import Metric
from afa_bench.tables.pairs import Samples, other_noise, positions, read_samples, where

EVERYTHING = Selection()
SAME = ("kind", "direction", "version", "weights", "inputs")
"""What must agree of a metric for two of its values to be compared."""

SAMPLED = ("scheduler", "schedule", "settings", "force_zeros_for_empty_prompt")
"""What of a pipeline says how its models are sampled: must agree, too."""

Key = tuple[str, str, str, int | None]


def compare_results(
    base: Results,
    head: Results,
    selection: Selection = EVERYTHING,
    level: float = LEVEL,
) -> list[Comparison]:
    """Every metric of every cell, BASE's in the order of its rows and then those that only HEAD has.

    Args:
        base, head: what was read.
        selection: the metrics and cells to look at.
        level: of the intervals.

    Raises:
        UserError: samples that are missing or corrupt.
    """
    labels: dict[str, set[str]] = {}
    for result in (*base.cells, *head.cells):
        labels.setdefault(result.cell.group, set()).add(result.cell.label)
    ours, theirs = (
        {_key(result): result for result in side.cells if selection.keeps(result.cell, labels[result.cell.group])}
        for side in (base, head)
    )
    known = {**head.metrics, **base.metrics}
    strangers = _strangers(base, head)
    measured = {(r.cell.task, key) for r in (*base.cells, *head.cells) if r.summary for key in r.summary.metrics}
    found: list[Comparison] = []
    for key in dict.fromkeys([*ours, *theirs]):
        group, label, _, steps = key
        pair = Pair(ours.get(key), theirs.get(key), strangers, level, unmade=(group, label, steps) in base.unmade)
        cell = (ours.get(key) or theirs[key]).cell
        for name in selection.metrics or known:
            if name in known:
                found += pair.compare(known[name], cell, (cell.task, name) in measured)
    return found


def about(base: Results, head: Results) -> str:
    """One line that names both, and says where they are no two results of one suite."""
    names = f"Suite {base.suite}, revision {base.revision}: {head.folder} (HEAD) against {base.folder} (BASE)"
    if (base.suite, base.revision) != (head.suite, head.revision):
        ours, theirs = (f"suite {side.suite}, revision {side.revision}: {side.folder}" for side in (head, base))
        names = f"Two suites: {ours} (HEAD) against {theirs} (BASE)"
    same = base.folder == head.folder or (storage(base.folder) is None and base.folder.resolve() == head.folder.resolve())
    return f"{names}: one folder, compared with itself" if same else names


class Pair:
    """A cell of BASE and of HEAD; their samples are read and aligned once, when they are first needed.

    Args:
        base, head: the cells; None where there is none.
        strangers: why the two results as wholes are not comparable, if so.
        level: of the intervals.
        unmade: whether BASE has planned the cell, and has not begun it.
    """

    def __init__(self, base: CellResult | None, head: CellResult | None, strangers: str, level: float, unmade: bool) -> None:
        self.base, self.head = base, head
        self.strangers = _difference_of_cells(base, head) if base and head else strangers
        self.level, self.unmade = level, unmade
        self._read: tuple[Samples, Samples, NDArray[np.intp], NDArray[np.intp]] | None = None

    def compare(self, metric: Metric, cell: CellFile, expected: bool) -> Iterator[Comparison]:
        """One metric's comparison; none where neither side measures it, although both are whole.

        Args:
            metric: to compare.
            cell: what either side says of the cell.
            expected: whether cells of this task have the metric, once they are scored.
        """
        before, after = _entry(self.base, metric.key), _entry(self.head, metric.key)
        plain = Comparison(cell, metric, _value(before), _value(after))

        def trouble(verdict: Verdict, words: str) -> Comparison:
            return replace(plain, trouble=verdict, words=words)

        if expected and self.base is not None and self.base.summary is None:
            yield trouble(Verdict.INCOMPARABLE, "BASE's cell is not scored")
        elif self.unmade and plain.head is not None:
            yield trouble(Verdict.INCOMPARABLE, "BASE's cell is not made yet")
        elif plain.base is None and not _damaged(self.base, metric.key):
            if plain.head is not None:
                yield trouble(Verdict.NEW, "BASE has no value")
        elif self.strangers:
            yield trouble(Verdict.INCOMPARABLE, self.strangers)
        elif self.head is None:
            yield trouble(Verdict.LOST, "HEAD has no such cell")
        elif before is None or after is None:
            yield trouble(Verdict.LOST, "HEAD's cell is not scored" if self.head.summary is None else "HEAD does not measure it")
        elif other := first_difference(_facts(before), _facts(after), f"metrics.{metric.key}"):
            yield trouble(Verdict.INCOMPARABLE, other)
        else:
            yield self._from_samples(plain, before, after)

    def _samples(self) -> tuple[Samples, Samples, NDArray[np.intp], NDArray[np.intp]]:
        if self._read is None:
            assert self.base is not None
            assert self.head is not None
            base, head = (read_samples(result.folder / "samples.parquet") for result in (self.base, self.head))
            self._read = (base, head, *positions(base, head))
        return self._read

    def _from_samples(self, plain: Comparison, before: MetricFile, after: MetricFile) -> Comparison:
        """What the samples say: whether they are all there, whole and paired, and by how much they differ."""
        base, head, left, right = self._samples()
        sample = other_noise(base, head, left, right)
        if sample is not None:
            return replace(plain, trouble=Verdict.INCOMPARABLE, words=f"sample {sample} starts from another seed")
        evidence = _of_set(plain, left.size) if plain.metric.kind == "set" else self._of_samples(plain.metric)
        whole = replace(plain, evidence=evidence)
        if left.size < len(base.ids):
            first = np.setdiff1d(np.arange(len(base.ids)), left)[0]
            words = f"{_of(len(base.ids) - left.size, len(base.ids))} not in HEAD: {base.ids[int(first)]}"
            return replace(whole, trouble=Verdict.LOST, words=words)
        failed = where(head.errors.is_valid())
        if failed.size:
            first = int(failed[0])
            words = f"{_of(failed.size, len(head.ids))} failed in HEAD: {head.ids[first]}: {head.errors[first]}"
            return replace(whole, trouble=Verdict.FAILED, words=words)
        neither = np.zeros(len(head.ids), dtype=bool)
        if plain.metric.kind == "per-sample":
            neither[right] = base.absent(plain.metric.key)[left] & head.absent(plain.metric.key)[right]
            empty = np.flatnonzero(~np.isfinite(_values(head, plain.metric.key)) & ~neither)
            if empty.size:
                words = f"{_of(empty.size, len(head.ids))} without a finite value in HEAD: {head.ids[int(empty[0])]}"
                return replace(whole, trouble=Verdict.NAN, words=words)
            if neither.any():
                whole = replace(whole, words=f"{_of(int(neither.sum()), len(head.ids))} have no value in either")
        if plain.head is None:
            return replace(whole, trouble=Verdict.NAN, words="HEAD has no finite value")
        words = self._gap_in_base(plain.metric, before, after, neither[right])
        if evidence is None:
            words = words or "no sample has a value in both"
        return replace(whole, trouble=Verdict.INCOMPARABLE, words=words) if words else whole

    def _gap_in_base(self, metric: Metric, before: MetricFile, after: MetricFile, neither: NDArray[np.bool_]) -> str:
        """What of BASE is missing, so that it is no measure for HEAD; empty where nothing is."""
        base, _, left, _ = self._samples()
        failed = where(base.errors.is_valid())
        if failed.size:
            first = int(failed[0])
            words = f"{_of(failed.size, len(base.ids))} failed in BASE: {base.ids[first]}: {base.errors[first]}"
            return f"{words}; {left.size - failed.size} pairs"
        if metric.kind == "set":
            return "" if before.n == after.n else f"of {before.n} images in BASE, of {after.n} in HEAD"
        empty = left[~np.isfinite(_values(base, metric.key)[left]) & ~neither]
        if not empty.size or empty.size == left.size:
            return ""
        words = f"{_of(empty.size, len(base.ids))} without a finite value in BASE: {base.ids[int(empty[0])]}"
        return f"{words}; {left.size - empty.size} pairs"

    def _of_samples(self, metric: Metric) -> Evidence | None:
        base, head, left, right = self._samples()
        ours, theirs = head.column(metric.key)[right] if metric.key in head.metrics else None, base.column(metric.key)[left]
        if ours is None:
            return None
        sign = 1.0 if metric.direction == "higher" else -1.0
        with np.errstate(invalid="ignore"):
            gaps = sign * (ours - theirs)
        known = np.isfinite(gaps)
        if not known.any():
            return None
        clusters = base.prompts[left]
        difference = paired_difference(sign * ours, sign * theirs, clusters, level=self.level)
        return Evidence(difference, gaps[known], clusters[known])


def first_difference(a: Any, b: Any, path: str = "") -> str:
    """Where two values differ first and how, in words; empty where they are equal."""
    if a == b:
        return ""
    way, base, head = apart(a, b, path)
    return f"{way}: {base} in BASE, {head} in HEAD"


def _key(result: CellResult) -> Key:
    cell = result.cell
    return cell.group, cell.label, cell.task, cell.steps


def _strangers(base: Results, head: Results) -> str:
    """The first difference between two results as wholes, in what both have; empty where there is none."""
    before = {**base.shared, "suite": base.suite, "revision": base.revision}
    after = {**head.shared, "suite": head.suite, "revision": head.revision}
    return first_difference(
        {key: value for key, value in before.items() if key in after},
        {key: value for key, value in after.items() if key in before},
    )


def _difference_of_cells(base: CellResult, head: CellResult) -> str:
    def facts(result: CellResult) -> dict[str, Any]:
        cell = result.cell
        group = cell.identity.get("group")
        pipeline = group.get("pipeline") if isinstance(group, Mapping) else None
        parts = pipeline if isinstance(pipeline, Mapping) and cell.task != "denoise" else {}
        known = {key: parts[key] for key in SAMPLED if parts.get(key) is not None}
        return {**shared_identity(cell.identity), "suite": cell.suite, "revision": cell.revision, **known}

    return first_difference(facts(base), facts(head))


def _entry(result: CellResult | None, key: str) -> MetricFile | None:
    return result.summary.metrics.get(key) if result and result.summary else None


def _damaged(result: CellResult | None, key: str) -> bool:
    """Whether a cell should have a value of a metric, and has none: its samples failed, or theirs are not finite."""
    if result is None or result.summary is None or key not in result.summary.metrics:
        return False
    if result.summary.failed:
        return True
    rows = result.samples
    return rows is not None and key in rows.metrics and bool((~np.isfinite(rows.metrics[key]) & ~rows.absent(key)).any())


def _value(entry: MetricFile | None) -> float | None:
    return entry.value if entry and entry.value is not None and math.isfinite(entry.value) else None


def _facts(entry: MetricFile) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in SAME}


def _values(samples: Samples, key: str) -> NDArray[np.float64]:
    """The column of a metric; all missing where there is no such column."""
    return samples.metrics.get(key, np.full(len(samples.ids), np.nan))


def _of_set(plain: Comparison, n: int) -> Evidence | None:
    if plain.base is None or plain.head is None:
        return None
    gap = (plain.head - plain.base) * (1 if plain.metric.direction == "higher" else -1)
    nothing = np.empty(0)
    return Evidence(Difference(gap, math.nan, math.nan, n, math.nan), nothing, nothing.astype(np.intp))


def _of(n: int, total: int) -> str:
    return f"{n} of {total} samples"
