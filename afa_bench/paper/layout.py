"""How the paper's tables are laid out and where their numbers are measured: the contents of ``tables.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from afa_bench.reading import read_yaml
from afa_bench.tables.model import ARROWS, Direction, Printed

Axis = Literal["dataset", "group", "method", "n_models", "images", "steps", "metric"]

DATASETS = {
    "coco2017": "COCO 2017",
    "drawbench": "DrawBench",
    "diffusiondb": "DiffusionDB",
    "journeydb": "JourneyDB",
    "laion-coco": "LAION-COCO",
}
METRICS = {"params": "parameters", "train TFLOPs": "TFLOPs, training", "inference TFLOPs": "TFLOPs"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricRef(_Part):
    """The key under which a metric is measured, and its better end."""

    key: str
    direction: Direction


class RowRef(_Part):
    """A row of a suite: the one of this label, or the ``index``-th of this method."""

    method: str | None = None
    label: str | None = None
    index: int = 0


class Layout(_Part):
    """One table: see ``tables.yaml``."""

    title: str
    rows: Axis
    columns: tuple[Axis, Axis]
    suites: dict[str, str] = {}
    bench: bool = False
    groups: dict[str, str] = {}
    methods: dict[str, RowRef] = {}
    notes: tuple[str, ...]


class Layouts(_Part):
    """All tables, and what they share."""

    metrics: dict[str, MetricRef]
    groups: dict[str, str]
    methods: dict[str, RowRef]
    notes: dict[str, str]
    tables: dict[int, Layout]

    def layout(self, table: int) -> Layout:
        """A table's layout, with what it shares filled in."""
        own = self.tables[table]
        return own.model_copy(update={"groups": self.groups | own.groups, "methods": self.methods | own.methods})

    def words(self, axis: Axis, number: Printed) -> str:
        """What a heading says of a number's place along an axis."""
        if axis == "dataset":
            return DATASETS[number.dataset]
        if axis == "group":
            return f"Group {number.group}" if number.group in ("I", "II") else number.group
        if axis == "n_models":
            return f"{number.n_models} base model{'s' if number.n_models > 1 else ''}"
        if axis == "images":
            return "" if number.images is None else f"{number.images} image{'s' if number.images > 1 else ''}"
        if axis == "steps":
            return f"{number.steps} step{'s' if number.steps > 1 else ''}"
        if axis == "metric":
            unit = f" [{number.unit}]" if number.unit not in ("", "TFLOPs") else ""
            return f"{METRICS.get(number.metric, number.metric)}{unit} {ARROWS[self.metrics[number.metric].direction]}"
        return number.method


V = TypeVar("V")


def pick(mapping: Mapping[str, V], name: str, *narrower: object) -> V | None:
    """The value of ``name/narrower`` if there is one, else that of ``name``."""
    keys = [*(f"{name}/{part}" for part in narrower), name]
    return next((mapping[key] for key in keys if key in mapping), None)


def read_layouts() -> Layouts:
    """The packaged ``tables.yaml``."""
    return Layouts.model_validate(read_yaml((files(__package__) / "tables.yaml").read_text(encoding="utf-8")))
