"""What a suite will take, by its file alone: no weights, no prompts and no connection are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from afa_bench.architectures.find import DEFAULT, find_architecture
from afa_bench.errors import UserError
from afa_bench.models.group import read_group_file
from afa_bench.needs import missing_of
from afa_bench.plan import check_generation, check_groups, configured, rows_of
from afa_bench.suite import Suite

BYTES_PER_PIXEL = 1.5
"""Of a PNG of a natural image."""


@dataclass(frozen=True)
class RowEstimate:
    """One row of the suite's table.

    Attributes:
        group, label: whose it is.
        cells: one a number of steps.
        images: over all cells.
        evaluations: of denoisers for an image, summed over the cells: steps x guidance x denoisers.
    """

    group: str
    label: str
    cells: int
    images: int
    evaluations: int


@dataclass(frozen=True)
class Estimate:
    """What a suite will take.

    Attributes:
        prompts: how many; None where that is known only once they are fetched.
        rows: of the table.
        missing: what is not there yet.
        rate: denoiser evaluations a second at 512 px.
        known_rate: whether this is a rate of all the suite's models, and not another architecture's for want of theirs.
        gpu_hours: for generating, by this rate.
        disk: bytes of the images.
    """

    prompts: int | None
    rows: Sequence[RowEstimate]
    missing: Sequence[str]
    rate: float
    gpu_hours: float
    disk: int
    known_rate: bool

    @property
    def images(self) -> int:
        """To generate."""
        return sum(row.images for row in self.rows)

    @property
    def cells(self) -> int:
        """Of results."""
        return sum(row.cells for row in self.rows)


def estimate(suite: Suite, rate: float | None = None) -> Estimate:
    """Check a suite and count what it takes.

    Args:
        suite: as read.
        rate: denoiser evaluations a second at 512 px, by default those of SD 1.5; at other sizes as their pixels.

    Raises:
        UserError: a mistake in the suite: an unknown name or option, a group that does not read or cannot be sampled.
    """
    prompt_set = configured(suite, "prompts", suite.prompts)
    metrics = [configured(suite, "metrics", choice) for choice in suite.metrics]
    missing = missing_of(suite)
    count = prompt_set.expected
    if count is None and not any(need in {source.id for source in prompt_set.sources()} for need in missing):
        count = len(prompt_set.prompts(suite.file.parent))
    count = min(count, prompt_set.limit) if count is not None and prompt_set.limit else count
    images = (count or 0) * suite.images_per_prompt * suite.repeats
    generates = any(metric.task == "generate" for metric in metrics)
    measured = find_architecture(DEFAULT).rate
    rows, known_rate = [], True
    groups = [read_group_file(name, suite.file.parent, f"{suite.file}: groups").without_files() for name in suite.groups]
    check_groups(suite, [group.name for group in groups])
    for group in groups:
        check_generation(suite, [group], metrics, suite.steps)
        known_rate &= rate is not None or group.family.rate == measured
        guided = 2 if suite.sampler.guidance > 1 and group.family.classifier_free else 1
        for label, method, options in rows_of(suite, group):
            steps = suite.steps if generates else ()
            evaluations = sum(steps) * guided * method.evaluations(group, options)
            rows.append(RowEstimate(group.name, label, len(steps), images * len(steps), evaluations))
    if not rows:
        raise UserError(f"{suite.file}: methods: none applies to the groups")
    pixels = suite.height * suite.width
    rate = rate or measured or 1.0
    seconds = sum(row.evaluations for row in rows) * images / rate * pixels / 512**2
    disk = round(sum(row.images for row in rows) * pixels * BYTES_PER_PIXEL)
    return Estimate(count, rows, missing, rate, seconds / 3600, disk, known_rate)
