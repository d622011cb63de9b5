"""What is computed from samples when a table asks for more than the summaries hold: differences, parts, spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from afa_bench.differences import Difference, Spread, paired_difference, repeat_spread
from afa_bench.errors import UserError
from afa_bench.stats import Interval, mean_interval
from afa_bench.tables.model import Metric
from afa_bench.tables.pairs import Samples, other_noise, positions, read_samples

Places = NDArray[np.intp]


class Measurer:
    """Reads each cell's samples once, and aligns each pair of cells once.

    Args:
        parts: columns by which its methods may be asked to break down: ``category``, ``repeat``.
    """

    def __init__(self, parts: Sequence[str] = ()) -> None:
        self.parts = parts
        self._samples: dict[Path, Samples] = {}
        self._aligned: dict[tuple[Path, Path], tuple[Places, Places]] = {}

    def categories(self, folder: Path) -> tuple[str, ...]:
        """The categories of a cell's prompts, sorted; the empty string is that of prompts without one."""
        return self._read(folder).parts["category"].names

    def mean(self, folder: Path, metric: Metric, category: str) -> Interval:
        """The metric's mean over one category of prompts."""
        samples = self._read(folder)
        chosen = _inside(samples, category)
        return mean_interval(samples.column(metric.key)[chosen], samples.prompts[chosen])

    def coverage(self, folder: Path, metric: Metric, category: str) -> tuple[int, str]:
        """The samples of one category of prompts, and which of them the metric's mean is over (:meth:`Samples.over`)."""
        samples = self._read(folder)
        chosen = _inside(samples, category)
        return chosen.size, samples.over(metric, chosen)

    def spread(self, folder: Path, metric: Metric, category: str | None) -> Spread:
        """How much the mean moves from repeat to repeat."""
        samples = self._read(folder)
        chosen = _inside(samples, category)
        return repeat_spread(samples.column(metric.key)[chosen], samples.parts["repeat"].codes[chosen])

    def difference(self, ours: Path, theirs: Path, metric: Metric, category: str | None = None) -> Difference:
        """``ours - theirs`` over the samples that both cells' folders have.

        Raises:
            UserError: a file that is missing, corrupt or without the metric, or whose samples started from another noise.
        """
        a, b = self._read(ours), self._read(theirs)
        left, right = self._align(a, b)
        if category is not None:
            kept = np.isin(left, _inside(a, category))
            left, right = left[kept], right[kept]
        higher = metric.direction == "higher"
        return paired_difference(a.column(metric.key)[left], b.column(metric.key)[right], a.prompts[left], higher=higher)

    def _read(self, folder: Path) -> Samples:
        if folder not in self._samples:
            self._samples[folder] = read_samples(folder / "samples.parquet", self.parts)
        return self._samples[folder]

    def _align(self, a: Samples, b: Samples) -> tuple[Places, Places]:
        key = (a.file, b.file)
        if key not in self._aligned:
            left, right = positions(a, b)
            sample = other_noise(a, b, left, right)
            if sample is not None:
                raise UserError(f"{a.file}: sample {sample}: its seed is not that of {b.file}: the samples are no pairs")
            self._aligned[key] = (left, right)
        return self._aligned[key]


def _inside(samples: Samples, category: str | None) -> Places:
    """The places of a category's samples; of all samples for None."""
    if category is None:
        return np.arange(samples.prompts.size)
    part = samples.parts["category"]
    if category not in part.names:
        return np.arange(0)
    return np.flatnonzero(part.codes == part.names.index(category))
