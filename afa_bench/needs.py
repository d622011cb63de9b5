"""What a suite, a group or the metrics need from elsewhere."""

from __future__ import annotations

from pathlib import Path

from afa_bench import registry
from afa_bench.fetch.sources import Needed
from afa_bench.models.group import packaged, read_group_file
from afa_bench.plan import configured
from afa_bench.suite import Suite, find_suite, packaged_suites, read_suite
from afa_bench.training.config import is_training, read_config

METRICS = "metrics"
"""Stands for the weights of every registered metric, with the metric's default options."""


def needs_of(name: str) -> list[Needed]:
    """The sources of a suite (a name or a file), of a training's data (a file), of a packaged group, or of :data:`METRICS`.

    Raises:
        UserError: no such suite, or a mistake in it.
    """
    if name == METRICS:
        return [source for key in registry.available("metrics") for source in registry.load("metrics", key)().sources()]
    if name in packaged() and name not in packaged_suites():
        return list(read_group_file(name, Path(), name).sources())
    if is_training(Path(name)):
        return list(read_config(Path(name)).prompt_set().sources())
    return suite_needs(read_suite(find_suite(name)))


def suite_needs(suite: Suite) -> list[Needed]:
    """Prompts, reference images, checkpoints and metric weights of a suite.

    Raises:
        UserError: an unknown name or option.
    """
    sources: list[Needed] = list(configured(suite, "prompts", suite.prompts).sources())
    for name in suite.groups:
        sources += read_group_file(name, suite.file.parent, f"{suite.file}: groups").sources()
    for choice in suite.metrics:
        sources += configured(suite, "metrics", choice).sources()
    return sources
