"""What holds for every plan, identity and store."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afa_bench.cells import SHARD, Cell, Samples, Shards
from afa_bench.identity import canonical, fingerprint, fingerprint_of_rows, sample_id, seed_of
from afa_bench.prompts.base import Prompt
from afa_bench.store.atomic import read_json, write_json
from afa_bench.store.columns import read_columns
from afa_bench.store.garbage import find_garbage
from afa_bench.store.layout import CellStore, PlannedCell, Store, checked, write_checked
from afa_bench.store.retry import retry_failed
from afa_bench.store.rows import encode_rows
from afa_bench.store.status import read_status
from afa_bench.tables.pairs import read_samples
from afa_bench.workspace import Share

settings.register_profile("short", deadline=None, max_examples=40, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("short")

TEXT = st.text(max_size=20)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
IDS = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=30, unique=True)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


# --- identity


@given(JSON)
def test_canonical_json_is_json_and_does_not_know_the_order_of_keys(value: Any) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text
    if isinstance(value, dict):
        assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


@given(JSON, JSON)
def test_two_values_have_one_fingerprint_only_if_they_are_one(a: Any, b: Any) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (canonical(a) == canonical(b))


@given(st.lists(JSON, max_size=5))
def test_a_list_row_by_row_has_the_lists_fingerprint(rows: list[Any]) -> None:
    assert fingerprint_of_rows(iter(rows)) == fingerprint(rows)


@given(st.integers(0, 2**70), st.lists(TEXT | st.integers(0, 9), max_size=4), st.lists(TEXT | st.integers(0, 9), max_size=4))
def test_seeds_are_63_bits_and_as_many_as_keys(seed: int, a: list[Any], b: list[Any]) -> None:
    assert 0 <= seed_of(seed, *a) < 2**63
    assert (seed_of(seed, *a) == seed_of(seed, *b)) == (a == b)


@given(st.tuples(TEXT, st.integers(0, 99), st.integers(0, 9)), st.tuples(TEXT, st.integers(0, 99), st.integers(0, 9)))
def test_sample_ids_are_as_many_as_samples(a: tuple[str, int, int], b: tuple[str, int, int]) -> None:
    assert (sample_id(*a) == sample_id(*b)) == (a == b)


# --- plan


def samples(ids: list[str], images: int, repeats: int, seed: int = 0) -> Samples:
    return Samples([Prompt(name, f"text of {name}") for name in ids], images, repeats, seed)


@given(IDS, st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**40), st.integers(1, 64))
def test_shards_are_the_samples_each_once_in_their_order(ids: list[str], images: int, repeats: int, seed: int, size: int) -> None:
    planned = samples(ids, images, repeats, seed)
    shards = Shards(planned, size)
    flat = [sample for shard in shards for sample in shard]
    assert flat == list(planned) == planned[:]
    assert len(planned) == len(ids) * images * repeats == len({sample.id for sample in flat}) == len({s.seed for s in flat})
    assert [len(shard) for shard in shards][:-1] == [size] * (len(shards) - 1)
    assert all(sample.seed == seed_of(seed, sample.prompt.id, sample.image_index, sample.repeat) for sample in flat)


@given(IDS, st.integers(1, 5), st.integers(1, 3))
def test_a_sample_does_not_depend_on_what_else_is_planned(ids: list[str], images: int, repeats: int) -> None:
    larger = {sample.id: sample for sample in samples([*ids, *(name + "x" for name in ids)], images + 1, repeats + 1)}
    assert all(larger[sample.id] == sample for sample in samples(ids, images, repeats))


@given(st.integers(1, 50), st.integers(0, 10**6))
def test_a_shard_is_of_one_share(count: int, number: int) -> None:
    assert sum(number in Share(index, count) for index in range(1, count + 1)) == 1


@given(st.text(max_size=120), st.text(max_size=120), st.integers(1, 9999) | st.none(), JSON, JSON)
def test_a_cells_folder_is_a_plain_name_and_as_many_as_identities(
    group: str, label: str, steps: int | None, identity: Any, other: Any
) -> None:
    task = "generate" if steps else "denoise"
    options: Any = SimpleNamespace()
    cell = Cell(SimpleNamespace(name=group), options, options, label, 0, task, steps, {"identity": identity})  # type: ignore[arg-type]
    assert Path(cell.name).name == cell.name
    assert len(cell.name.encode()) < 128
    assert cell.name not in (".", "..")
    assert not cell.name.startswith(".")
    twin = replace(cell, identity={"identity": other})
    assert (twin.name == cell.name) == (canonical(identity) == canonical(other))


# --- store


@given(JSON)
def test_what_is_written_is_read(value: Any) -> None:
    with folder() as place:
        write_json(place / "a.json", value)
        assert read_json(place / "a.json") == value
        write_checked(place / "b.json", {"value": value})
        assert checked(place / "b.json")["value"] == value
        before = (place / "b.json").read_bytes()
        write_checked(place / "b.json", {"value": value})
        assert (place / "b.json").read_bytes() == before
        assert sorted(path.name for path in place.iterdir()) == ["a.json", "b.json"]


ROWS = st.lists(
    st.tuples(TEXT, st.none() | TEXT, st.none() | st.floats(), st.integers(0, 2**63 - 1)),
    min_size=1,
    max_size=20,
    unique_by=lambda r: r[0],
)


@given(ROWS)
def test_rows_are_read_as_they_were_written(rows: list[tuple[str, str | None, float | None, int]]) -> None:
    written = [{"sample_id": a, "prompt_id": a, "error": e, "score": v, "seed": s} for a, e, v, s in rows]
    with folder() as place:
        file = place / "samples.parquet"
        file.write_bytes(encode_rows(written))
        table = read_columns(file, lambda field: True, "")
        assert table.drop_columns(["score"]).to_pylist() == [
            {key: row[key] for key in ("sample_id", "prompt_id", "error", "seed")} for row in written
        ]
        read = read_samples(file)
        assert read.seeds is not None
        assert read.seeds.tolist() == [row["seed"] for row in written]
        for value, row in zip(read.metrics["score"].tolist(), written, strict=True):
            assert (math.isnan(value) and (row["score"] is None or math.isnan(row["score"]))) or value == row["score"]


SHARDS = st.lists(st.lists(st.booleans(), min_size=1, max_size=SHARD), max_size=4)
"""Shards of samples which failed (True) or not."""


@settings(max_examples=15)
@given(st.lists(st.tuples(SHARDS, st.booleans()), min_size=1, max_size=3))
def test_status_counts_every_row_and_retry_takes_the_failed_alone(cells: list[tuple[list[list[bool]], bool]]) -> None:
    with folder() as place:
        store = Store(place)
        planned = []
        for number, (shards, scored) in enumerate(cells):
            files = store.cell(f"c{number}")
            planned.append(PlannedCell(f"c{number}", "g", f"c{number}", 10, sum(map(len, shards)) + 5 * (not scored)))
            write_cell_of(files, shards, scored)
        store.write_planned("suite", 1, planned)
        failed = sum(bad for shards, _ in cells for shard in shards for bad in shard)
        total = sum(len(shard) for shards, _ in cells for shard in shards)
        status = read_status(place)
        assert sum(cell.failed for cell in status.cells) == failed
        assert sum(cell.done for cell in status.cells) == total - failed
        assert sum(cell.left for cell in status.cells) == sum(5 for _, scored in cells if not scored)
        assert find_garbage(place) == []

        good = Counter(tuple(shard) for shards, _ in cells for shard in shards if not any(shard))
        assert retry_failed(place).failed == failed
        kept = [store.cell(name).shard_rows(shard) or [] for name in store.cells() for shard in store.cell(name).shards()]
        assert Counter(tuple(row["error"] is not None for row in rows) for rows in kept) == good
        for number, (shards, scored) in enumerate(cells):
            assert (store.cell(f"c{number}").summary() is not None) == (scored and not any(map(any, shards)))
        assert retry_failed(place).failed == 0


def write_cell_of(files: CellStore, shards: list[list[bool]], scored: bool) -> None:
    files.write_about({"group": "g", "label": files.folder.name, "steps": 10})
    for number, shard in enumerate(shards):
        rows = [
            {"sample_id": f"{number}/{i}", "file": None, "error": "x" if bad else None, "seconds": 1.0}
            for i, bad in enumerate(shard)
        ]
        files.write_shard(number, rows)
    if scored:
        failed = sum(map(sum, shards))
        files.write_summary({"samples": sum(map(len, shards)), "failed": failed, "metrics": {}})
