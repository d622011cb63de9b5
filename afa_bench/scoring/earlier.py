"""Scores that are in a folder already: those of other metrics of the same images are added to, all else is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from afa_bench.errors import UserError
from afa_bench.identity import fingerprint
from afa_bench.images.stored import Picture, read
from afa_bench.metrics.base import Metric
from afa_bench.scoring.image_set import RealImages
from afa_bench.store.columns import read_columns
from afa_bench.store.layout import CellStore, SampleRow
from afa_bench.store.rows import COLUMNS

SAME = ("sample_id", "sha256", "prompt", "cluster")
"""Columns of a row that have to be the same for its scores to stand beside others."""

WAY_OUT = "expected another --out; delete the folder to begin anew"


@dataclass(frozen=True)
class EarlierScores:
    """What another scoring has left: the summary of its metrics, and its rows by sample id."""

    about: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, SampleRow] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """Key -> entry, in order."""
        found: Mapping[str, Mapping[str, Any]] = self.about.get("metrics", {})
        return dict(sorted(found.items(), key=lambda item: item[1]["order"]))

    def added(self, summary: Mapping[str, dict[str, Any]], rows: Sequence[SampleRow]) -> dict[str, dict[str, Any]]:
        """The earlier metrics and those of ``summary``; what earlier rows have and these ``rows`` lack is put into them.

        A metric that had a value and now has none, such as one whose weights are gone, keeps it.
        """
        new = {key: entry for key, entry in summary.items() if entry["value"] is not None or not self._has(key)}
        for row in rows:
            for name, value in self.rows.get(row["sample_id"], {}).items():
                if name not in COLUMNS and name not in new:
                    row[name] = value
        merged = {**{key: dict(entry) for key, entry in self.metrics.items()}, **new}
        return {key: {**entry, "order": order} for order, (key, entry) in enumerate(merged.items())}

    def _has(self, key: str) -> bool:
        return self.metrics.get(key, {}).get("value") is not None


def read_earlier(out: Path, rows: Sequence[SampleRow], as_seen: bool, inputs: Mapping[str, str]) -> EarlierScores:
    """What is in the folder that results are to be written to.

    Args:
        out: the folder.
        rows: of the images that are to be scored.
        as_seen: how they are read.
        inputs: of the metrics that are to be computed: key -> a fingerprint of all that fixes its values.

    Raises:
        UserError: a run's results, scores of other images, captions or another reading, or other values of one of the metrics.
    """
    store = CellStore(out)
    if (out / "cell.json").exists():
        raise UserError(f"{out}: holds the results of a run: expected another --out")
    about = store.summary()
    if about is None:
        return EarlierScores()
    table = read_columns(store.samples, lambda column: True, "summary.json beside it is of its samples")
    earlier = EarlierScores(about, {row["sample_id"]: row for row in table.to_pylist()})
    of = f"{out}: holds the scores of {len(earlier.rows)} images of {about.get('images', 'another folder')}"
    ours = {row["sample_id"]: row for row in rows}
    for name in SAME:
        first, second = ({key: row.get(name) for key, row in side.items()} for side in (earlier.rows, ours))
        if first != second:
            other = "other images" if name in ("sample_id", "sha256") else "other captions"
            raise UserError(f"{of}, these are {other}: {WAY_OUT}")
    if bool(about.get("as_seen")) != as_seen:
        raise UserError(f"{of}, read {'without' if as_seen else 'with'} --as-seen: {WAY_OUT}")
    for key, mark in inputs.items():
        known = earlier.metrics.get(key, {})
        if known.get("inputs") not in (None, mark):
            raise UserError(f"{of}: {known['title']} of another version, with other weights or another reference: {WAY_OUT}")
    return earlier


def inputs_of(metric: Metric, real: RealImages) -> str:
    """A fingerprint of all that fixes a metric's values of given images and captions."""
    compared: list[Any] = []
    if isinstance(kind := getattr(metric, "reference", None), str):
        compared.append(_reference(real, kind))
    if "paired" in metric.needs:
        compared.append({name: picture and _digest(picture) for name, picture in real.paired.items()})
    return fingerprint([metric.identity(), compared])


def _reference(real: RealImages, kind: str) -> Any:
    if real.moments is not None:
        return real.moments_identity
    try:
        return real.reference_identity(kind, 0, len(real.reference))
    except UserError as error:  # an image that cannot be read costs this metric its value
        return str(error)


def _digest(picture: Picture) -> str:
    try:
        return hashlib.sha256(read(picture)).hexdigest()
    except UserError as error:
        return str(error)
