"""What a suite will take, by its file alone: no weights, no prompts and no connection are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from afa_bench.errors import UserError
from afa_bench.models.group import read_group_file
from afa_bench.needs import missing_of
from afa_bench.plan import configured, rows_of
from afa_bench.suite import Suite

RATE = 34.0
"""U-Net evaluations a second on one GPU at 512 px: the paper's table 9 has 2.94 s for an image of 50 guided steps of one SD 1.5
model, on a V100. SDXL and FLUX are larger; give their rate."""

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
        known_rate: whether the rate is one of all the suite's models: :data:`RATE` is that of SD 1.5 alone.
        gpu_hours: for generating, by the rate given.
        disk: bytes of the images.
    """

    prompts: int | None
    rows: Sequence[RowEstimate]
    missing: Sequence[str]
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
        rate: denoiser evaluations a second at 512 px, by default :data:`RATE`; at other sizes as their pixels.

    Raises:
        UserError: a mistake in the suite: an unknown name or option, a group that does not read.
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
    guided = 2 if suite.sampler.guidance > 1 and "FlowMatch" not in suite.sampler.scheduler else 1
    rows, known_rate = [], True
    for name in suite.groups:
        group = read_group_file(name, suite.file.parent, f"{suite.file}: groups").sketched()
        known_rate &= rate is not None or group.architecture == "sd15"
        for label, method, options in rows_of(suite, group):
            steps = suite.steps if generates else ()
            evaluations = sum(steps) * guided * method.evaluations(group, options)
            rows.append(RowEstimate(group.name, label, len(steps), images * len(steps), evaluations))
    if not rows:
        raise UserError(f"{suite.file}: methods: none applies to the groups")
    pixels = suite.size**2
    seconds = sum(row.evaluations for row in rows) * images / (rate or RATE) * pixels / 512**2
    disk = round(sum(row.images for row in rows) * pixels * BYTES_PER_PIXEL)
    return Estimate(count, rows, missing, seconds / 3600, disk, known_rate)
