"""A row of a table as the Hugging Face hub reads it, in a model's repository.

``model-index`` in the head of ``README.md`` (https://github.com/huggingface/hub-docs/blob/main/modelcard.md), and, for a
benchmark that has a data set on the hub, entries of ``.eval_results/*.yaml``, which the data set's leaderboard collects
(https://github.com/huggingface/hub-docs/blob/main/eval_results.yaml; ``EvalResultEntry`` of huggingface_hub 1.x).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import yaml

from afa_bench import __version__
from afa_bench.markup import markdown as escape
from afa_bench.tables.formats.markdown import render as render_markdown
from afa_bench.tables.model import Cell, Column, Row, Table
from afa_bench.tables.text import measured


@dataclass(frozen=True)
class Benchmark:
    """How the suite is called on the hub.

    Attributes:
        dataset: id of the benchmark's data set, ``owner/name``; without one, no entry for a leaderboard is written.
        source: a URL where these results can be looked at, if there is one.
    """

    dataset: str | None = None
    source: str | None = None


def model_index(table: Table, group: str, row: Row, benchmark: Benchmark) -> list[dict[str, Any]]:
    """The row's values with their intervals, as the key ``model-index`` of a model card."""
    result: dict[str, Any] = {
        "task": {"type": "text-to-image", "name": "Text-to-Image"},
        "dataset": {
            "type": benchmark.dataset or table.suite,
            "name": f"afa-bench {table.suite}, revision {table.revision}",
        },
        "metrics": [
            {
                "type": column.metric.key,
                "name": f"{column.metric.title}, {column.under}",
                "value": cell.value,
                "args": {
                    "steps": column.steps,
                    "low": cell.low,
                    "high": cell.high,
                    "n": cell.n,
                    "version": column.metric.version,
                },
            }
            for cell, column in _known(table, row)
        ],
    }
    if benchmark.source:
        result["source"] = {"name": "afa-bench", "url": benchmark.source}
    return [{"name": f"{row.label} ({group})", "results": [result]}]


def eval_results(table: Table, row: Row, benchmark: Benchmark) -> list[dict[str, Any]]:
    """The row's values as entries of ``.eval_results``: a task is a metric at a number of steps."""
    entries = []
    for cell, column in _known(table, row):
        task = column.metric.key if column.steps is None else f"{column.metric.key}.{column.steps}"
        value, interval = measured(cell, column.metric)
        about = f"{column.metric.heading}, {column.under}: {f'{value} {interval}'.strip()} (95% interval) over {cell.n} samples"
        entry: dict[str, Any] = {"dataset": {"id": benchmark.dataset, "task_id": task}, "value": cell.value}
        if benchmark.source:
            entry["source"] = {"url": benchmark.source, "name": "afa-bench"}
        entry["notes"] = f"{about}; suite {table.suite}, revision {table.revision}, afa-bench {__version__}"
        entries.append(entry)
    return entries


def card(table: Table, group: str, row: Row, benchmark: Benchmark) -> str:
    """A model card with the ``model-index`` in its head and the row's table below."""
    head = {
        "pipeline_tag": "text-to-image",
        "library_name": "diffusers",
        "tags": ["afa-bench"],
        "model-index": model_index(table, group, row, benchmark),
    }
    alone = replace(table, sections=tuple(replace(part, rows=(row,)) for part in table.sections if part.name == group))
    return f"---\n{as_yaml(head)}---\n\n# {escape(row.label)} ({escape(group)})\n\n{render_markdown(alone)}"


def as_yaml(value: Any) -> str:
    """Readable YAML in the order given; plain types alone."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
    return text


def _known(table: Table, row: Row) -> list[tuple[Cell, Column]]:
    return [(cell, column) for cell, column in zip(row.cells, table.columns, strict=True) if cell.value is not None]
