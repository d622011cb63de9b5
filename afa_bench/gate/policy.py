"""What a gate holds HEAD to: the metrics, how much worse each may become, and which cells count."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from afa_bench.errors import UserError
from afa_bench.gate.selection import Selection
from afa_bench.reading import Unique, read_mapping, validated
from afa_bench.tables.load import Results

DEFAULT_MARGIN = 0.02
"""Of the default policy: a share of the metric's median in BASE."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limit(_Strict):
    """A gated metric.

    Attributes:
        margin: how much worse HEAD may be, in the metric's own unit and whichever end is better. Of a per-sample metric the
            interval of the paired difference is held to it, of a set metric the plain difference of the two values.
    """

    margin: Annotated[float, Field(ge=0)]


class Policy(_Strict):
    """A policy file.

    Attributes:
        metrics: key -> limit. A metric that is not listed is not gated.
        methods, groups, steps: the cells that count; all where a list is empty. A method is meant by its name or its row's label.
        alpha: the intervals have the level ``1 - alpha``, and where nothing is truly worse by more than its margin, a gate says
            "regressed" anywhere with a probability of at most ``alpha / 2`` (one side).
    """

    metrics: Annotated[dict[str, Limit], Field(min_length=1)]
    methods: Annotated[tuple[str, ...], Unique] = ()
    groups: Annotated[tuple[str, ...], Unique] = ()
    steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Unique] = ()
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05

    @property
    def selection(self) -> Selection:
        """The metrics and cells that count."""
        return Selection(tuple(self.metrics), self.methods, self.groups, self.steps)

    def text(self) -> str:
        """The policy as YAML that reads back as it is."""
        content: dict[str, Any] = {"metrics": {key: {"margin": limit.margin} for key, limit in self.metrics.items()}}
        content |= {key: list(getattr(self, key)) for key in ("methods", "groups", "steps") if getattr(self, key)}
        return yaml.safe_dump({**content, "alpha": self.alpha}, sort_keys=False, allow_unicode=True)


def read_policy(path: Path) -> Policy:
    """Read and validate a policy.

    Raises:
        UserError: unreadable, not YAML, or a key that is unknown, missing or wrong.
    """
    document, _ = read_mapping(path, "with the key metrics, such as metrics: {clip_t: {margin: 0.01}}")
    return as_policy(document, str(path))


def as_policy(document: Mapping[str, Any], where: str) -> Policy:
    """A policy from its keys; ``where`` begins an error.

    Raises:
        UserError: a key that is unknown, missing or wrong.
    """
    known = {"metrics": Limit.model_fields}
    return validated(Policy, document, where, lambda place: known.get(str(place[0]), Policy.model_fields))


def default_policy(base: Results, head: Results | None = None) -> Policy:
    """Every per-sample metric of ``base``, with a margin of 2% of its median over the cells, in two digits; of ``head``'s where
    all of BASE's samples failed. Set metrics need a policy that states their tolerance.

    Raises:
        UserError: there is no such metric.
    """
    values = _values(base)
    values |= {key: found or (_values(head).get(key) if head else None) or [0.0] for key, found in values.items()}
    if not values:
        raise UserError("no per-sample metric to gate by default: state the tolerance of the others in a --policy")
    margins = {key: float(f"{DEFAULT_MARGIN * statistics.median(values[key]):.2g}") for key in base.metrics if key in values}
    return Policy(metrics={key: Limit(margin=margin) for key, margin in margins.items()})


def _values(results: Results) -> dict[str, list[float]]:
    """The absolute values of per-sample metrics: none of one whose samples all failed; others without a value are left out."""
    values: dict[str, list[float]] = {}
    for result in results.cells:
        for key, entry in result.summary.metrics.items() if result.summary else ():
            if entry.kind == "per-sample" and (entry.value is not None or (result.summary and result.summary.failed)):
                values.setdefault(key, []).extend([] if entry.value is None else [abs(entry.value)])
    return values
