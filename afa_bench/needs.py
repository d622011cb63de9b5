"""What a suite, a group or the metrics need from elsewhere, and what of it is not there yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from os.path import exists
from pathlib import Path

from afa_bench import registry
from afa_bench.errors import UserError
from afa_bench.fetch.library import Library
from afa_bench.fetch.sources import Needed
from afa_bench.log import LOG
from afa_bench.metrics.base import Metric
from afa_bench.metrics.read import read_metric
from afa_bench.models.group import is_group, packaged, read_group_file
from afa_bench.plan import configured, rows_of
from afa_bench.suite import Suite, find_suite, packaged_suites, read_suite
from afa_bench.training.config import is_training, read_config

METRICS = "metrics"
"""Stands for the weights of every registered metric, with the metric's default options."""


def needs_of(name: str) -> list[Needed]:
    """The sources of a suite or a group (names or files), of a training's data (a file), or of :data:`METRICS`.

    Raises:
        UserError: no such suite, or a mistake in it.
    """
    if name == METRICS:
        return [source for metric in _registered_metrics() for source in metric.sources()]
    if name in packaged() and name not in packaged_suites():
        return list(read_group_file(name, Path(), name).sources())
    file = Path(os.path.expanduser(name))
    if is_group(file):
        return read_group_file(str(file), Path(), name).sources()
    if is_training(file):
        return list(read_config(file).prompt_set().sources())
    return suite_needs(read_suite(find_suite(name)))


def _registered_metrics() -> Iterator[Metric]:
    """All that can be had without options; somebody else's that cannot be is said, and stands in nobody's way."""
    for name in registry.available("metrics"):
        try:
            yield read_metric(name, {}, METRICS)
        except UserError as error:
            LOG.warning("left out: %s", error)


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


def missing_of(suite: Suite) -> list[str]:
    """What a suite needs and what is not there: ids of files from elsewhere, folders of weights to train; asks no server.

    Raises:
        UserError: a mistake in the suite.
    """
    library, missing = Library(), []
    for need in suite_needs(suite):
        try:
            missing += [source.id for source in library.files(need) if library.find(source) is None]
        except UserError:
            missing.append(need.id)
    for name in suite.groups:
        file = read_group_file(name, suite.file.parent, f"{suite.file}: groups")
        group = file.without_files()
        missing += file.absent()
        for _, method, options in rows_of(suite, group):
            missing += [str(path) for path in method.weights(group, options).values() if not exists(path)]
    return list(dict.fromkeys(missing))
